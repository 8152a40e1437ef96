"""Output images against the checksums that the catalogue has of them: single files, and members of shards.

A member is told of as `SHARD:MEMBER`, a path and a name in that tar or Parquet file; as long as the shard is not
complete it lies beside.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from loco.archives import Member
from loco.ids import file_id
from loco.outside import regular
from registry.files.staged import find_staged
from registry.home import Home
from registry.records import EditItem, Problem

_BLOCK = 2**20
_ROWS = 64


def files_of(edits: Iterable[EditItem], home: Home) -> set[Path]:
    """The files that outputs are, or are in."""
    return {where[0] for where in _latest(edits, home)}


def damaged(edits: Iterable[EditItem], home: Home) -> Iterator[Problem]:
    """What is wrong with outputs; a relative path counts from the home."""
    shards: dict[Path, dict[str, EditItem]] = {}
    for (path, member), edit in _latest(edits, home).items():
        if member:
            shards.setdefault(path, {})[member] = edit
        else:
            yield from _problem(str(path), edit, _single(path, edit))
    for path, members in shards.items():
        found, trouble = _members(path, members)
        for member, edit in members.items():
            what = _told(found[member], edit) if member in found else trouble or "is missing"
            waiting = find_staged(path, member) if what else None
            if waiting is not None:
                what = _single(waiting, edit)
            yield from _problem(f"{path}:{member}", edit, what)


def _latest(edits: Iterable[EditItem], home: Home) -> dict[tuple[Path, str], EditItem]:
    """Where outputs are, each with its last writer: a later run may have written over an earlier one's.

    What lies under a URL is not among them: looking at it would download it.
    """
    return {_place(home.root / edit.output): edit for edit in edits if "://" not in edit.output}


def _place(path: Path) -> tuple[Path, str]:
    shard = re.match(r"(.*?[^/]\.(?:tar|parquet)):(.+)", str(path), re.DOTALL)
    if shard is None or Path(shard[1]).is_dir() or path.is_file():
        return path, ""
    return Path(shard[1]), shard[2]


def _problem(subject: str, edit: EditItem, what: str) -> Iterator[Problem]:
    if what:
        again = f"`loco jobs show {edit.run_id}` tells what it was asked for"
        yield Problem(subject, f"the output image {what}", f"run the same `loco apply` again; {again}")


def _single(path: Path, edit: EditItem) -> str:
    try:
        checksum = file_id(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return _told(checksum, edit)


def _told(checksum: str, edit: EditItem) -> str:
    return "" if checksum == edit.checksum else "is not the one that was written"


def _members(path: Path, wanted: Iterable[str]) -> tuple[dict[str, str], str]:
    """Checksums of the members of a shard that can be read, and what is wrong with it."""
    found: dict[str, str] = {}
    wanted = set(wanted)
    try:
        with regular(path) as file:
            for name, checksum in (_in_parquet if path.suffix == ".parquet" else _in_tar)(file, wanted):
                found[name] = checksum
    except FileNotFoundError:
        return found, "is missing, as is its shard"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, tarfile.TarError) as error:
        return found, f"cannot be read, for its shard is damaged: {str(error).partition(chr(10))[0]}"
    return found, ""


def _in_tar(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=file, mode="r:", tarinfo=Member) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all
            inside = archive.extractfile(member) if member.isreg() and member.name in wanted else None
            if inside is not None:
                checksum = hashlib.sha256()
                while block := inside.read(_BLOCK):
                    checksum.update(block)
                yield member.name, checksum.hexdigest()


def _in_parquet(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[str, str]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=["image"]):
        for image in batch.column(0).to_pylist():
            if image["path"] in wanted:
                yield image["path"], hashlib.sha256(image["bytes"]).hexdigest()
