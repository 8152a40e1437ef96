"""What an image file says of itself, and whether it holds together: claim, signature, watermark."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loco.decoding import read_bytes
from loco.errors import ImageError, InputError
from loco.ids import bytes_id
from loco.images import picture_of
from loco.marks import signing, xmp
from loco.marks import watermark as pixels
from loco.marks.claim import Claim
from loco.marks.marking import media_of


@dataclass
class Said:
    """What one file says.

    Attributes:
        file: Its name.
        claim: What its metadata say of how it was made.
        signature: Its signed provenance; None where there is none or nobody looked (`unread` says why).
        watermark: What its pixels carry under the key; None without a key.
        here: What the home knows of it: `as written`, `changed` since, `unknown`; empty where no edit is claimed.
        run: The run that made it, where the home knows.
        contradictions: What it claims that does not hold.
        unread: What could not be looked at, and why.
    """

    file: str
    claim: Claim | None = None
    signature: signing.Signature | None = None
    watermark: pixels.Reading | None = None
    here: str = ""
    run: str = ""
    contradictions: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def edit_id(self) -> str:
        """The edit that the file claims, by its metadata or else its signature; empty where none."""
        if self.claim is not None:
            return self.claim.edit_id
        return "" if self.signature is None else self.signature.edit_id


class KnownEdit(Protocol):
    """What the home knows of an edit."""

    @property
    def run_id(self) -> str:
        """The run that made it."""

    @property
    def image_id(self) -> str:
        """sha256 of the source's bytes."""

    @property
    def checksum(self) -> str:
        """sha256 of the output's bytes."""


def said_of(
    path: Path, key: bytes | None, anchors: str | None, known: Callable[[str], KnownEdit | None]
) -> Said:
    """What a file says, held against what the home knows; what cannot be read is a contradiction of its own."""
    try:
        data = read_bytes(path)
        said = said_by(data, str(path), key, anchors)
    except ImageError as error:
        return Said(str(path), contradictions=[str(error)])
    if said.edit_id:
        edit = known(said.edit_id)
        said.here = (
            "unknown" if edit is None else "as written" if edit.checksum == bytes_id(data) else "changed"
        )
        if edit is not None:
            said.run = edit.run_id
            if said.claim is not None and said.claim.source != edit.image_id:
                said.contradictions.append("it claims another source than the home has for this edit")
    return said


def said_by(data: bytes, name: str, key: bytes | None = None, anchors: str | None = None) -> Said:
    """Read a file's bytes; raises `ImageError` for what is no image.

    With `key` its pixels are searched for a watermark, with `anchors` (PEM) its signer is held against authorities.
    """
    said = Said(name)
    picture = picture_of(data, name, name)
    try:
        said.claim = xmp.claim_of(picture.xmp)
    except ValueError as error:
        said.contradictions.append(str(error))
    media = media_of(data)
    if media is not None:
        try:
            said.signature = signing.read(data, media, anchors)
        except InputError as error:
            if _may_be_signed(data):
                said.unread.append(str(error))
    if key is not None:
        said.watermark = pixels.read(picture.pixels, key)
    _compare(said)
    return said


def _compare(said: Said) -> None:
    """Note where the three tell different things."""
    signature, mark, claim = said.signature, said.watermark, said.claim
    if signature is not None and not signature.valid:
        said.contradictions.append(
            f"its signature does not hold: {', '.join(signature.problems) or 'invalid'}"
        )
    if signature is not None and claim is not None and signature.edit_id not in ("", claim.edit_id):
        said.contradictions.append("its metadata and its signature name different edits")
    if mark is not None and mark.present and said.edit_id and not said.edit_id.startswith(mark.payload):
        said.contradictions.append("its watermark carries another edit than it claims")


def _may_be_signed(data: bytes) -> bool:
    """Whether there is a C2PA manifest to be read at all."""
    return re.search(rb"jumb.{0,64}c2pa|caBX|C2PA", data, re.DOTALL) is not None
