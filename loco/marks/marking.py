"""From an edited picture to a file that says what it is: watermark in the pixels, claim in the metadata, signature
last.

What was not edited (strength 0, no effect) is a copy of its source and is not marked as anything else.
"""

import os
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

from loco.errors import InputError
from loco.finish import Finished, carried
from loco.formats import FORMATS, Format
from loco.images import Picture, encode
from loco.marks import watermark, xmp
from loco.marks.claim import ALSO, Claim, Marks
from loco.marks.signing import Signer
from loco.outside import regular

KEY_LIMIT = 1 << 16
"""Bytes of a key file that are read."""


def check(marks: Marks) -> None:
    """Refuse marks that cannot be made, before any work; raises `InputError`."""
    unknown = sorted(set(marks.also) - set(ALSO))
    if unknown:
        raise InputError(f"what a mark can say besides: expected {', '.join(ALSO)}, found {unknown[0]!r}")
    if bool(marks.sign) != bool(marks.certificate):
        raise InputError("to sign, name both --sign KEY and --cert PEM")
    if marks.sign:
        signer_of(marks).check()
    if marks.watermark:
        key_of(marks.watermark)


def signer_of(marks: Marks) -> Signer:
    """Who signs."""
    return Signer(Path(marks.sign), Path(marks.certificate))


@dataclass(frozen=True)
class Marked:
    """A file's bytes, the marks in it, and what could not be kept or marked."""

    data: bytes
    marks: tuple[str, ...]
    notes: tuple[str, ...]


def marked_file(
    picture: Picture, done: Finished, format: Format, marks: Marks, claim: Claim | None, source: bytes
) -> Marked:
    """The file of an edited picture; `claim` is None for a copy, which gets no mark. `source` are the source file's
    bytes.

    Raises `InputError` where a signature cannot be made.
    """
    own_exif, own_xmp, notes = carried(picture, format)
    pixels, made = done.pixels, []
    if claim is not None and marks.watermark:
        key = key_of(marks.watermark)
        try:
            pixels = watermark.marked(pixels, claim.edit_id, key)
            made.append(f"watermark:{watermark.key_id(key)}")
        except InputError as error:
            notes = (*notes, f"no watermark: {error}")
    packet = own_xmp
    if claim is not None and marks.claim:
        packet, about = xmp.with_claim(claim, own_xmp, FORMATS[format].room)
        notes = (*notes, *about)
        made.append("claim")
    data = encode(
        pixels,
        format,
        alpha=done.alpha,
        profile=picture.profile,
        turn=picture.turn,
        exif=own_exif,
        xmp=packet,
    )
    if claim is not None and marks.sign:
        origin = media_of(source)
        if origin is None:
            source, origin = encode(picture.pixels, "png"), "png"
        data = signer_of(marks).sign(data, format, claim, source, origin)
        made.append("signature")
    return Marked(data, tuple(made), notes)


def media_of(data: bytes) -> str | None:
    """The format of an image file that can carry a signature, by its first bytes; None for another."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


@lru_cache(maxsize=8)
def key_of(path: str) -> bytes:
    """The key in a file; raises `InputError`."""
    try:
        with regular(Path(path)) as file:
            key = file.read(KEY_LIMIT + 1)
    except OSError as error:
        raise InputError(
            f"--watermark {path}: cannot be read ({error.strerror}); make one with `loco outputs key {path}`"
        ) from error
    if len(key) > KEY_LIMIT:
        raise InputError(f"--watermark {path}: more than {KEY_LIMIT} bytes, this is no key")
    return watermark.check_key(key)


def new_key(path: Path) -> str:
    """Make a file with a key that only its owner can read; returns what the key is called. Raises `InputError`."""
    key = os.urandom(32)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be made ({error.strerror}); a key that is there is never replaced"
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(key)
    return watermark.key_id(key)


@cache
def software() -> str:
    """Name and version of this program."""
    return f"loco-edit-service {metadata.version('loco-edit-service')}"


def before(packet: bytes | None) -> str:
    """The edit that a source's own XMP claims, or empty."""
    try:
        claim = xmp.claim_of(packet)
    except ValueError:
        return ""
    return "" if claim is None else claim.edit_id
