"""When bases were found and how long it took: HOME/bases/<ab>/found.jsonl, beside the files, which tell neither.

So the same work gives the same bytes, at whatever time and on however busy a machine. One JSON object a line; of
several lines of one basis the last counts. A file of which no line tells (it was copied here, or an older program wrote
it) has the time that it tells itself or, failing that, the file system's.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loco.files import reading_errors
from loco.outside import regular_bytes
from registry.files import checked
from registry.files.journal import Journal
from registry.home import Home
from registry.records import now, stamp

NAME = "found.jsonl"
"""The file's name in a home's folders of bases and in an export."""


@dataclass(frozen=True)
class Found:
    """What is known of a basis' making: `found_at` is naive UTC in ISO 8601, `seconds` the time that it took."""

    id: str
    found_at: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot be: a line may come from anywhere."""
        if re.fullmatch("[0-9a-f]{32}", self.id) is None or datetime.fromisoformat(self.found_at).tzinfo:
            raise ValueError("not an id and a time")
        if not 0 <= float(self.seconds) < 1e9:
            raise ValueError("not a number of seconds")


def just(basis_id: str, seconds: float = 0.0) -> Found:
    """A basis found at this moment."""
    return Found(basis_id, now(), round(seconds, 4))


def note(path: Path, found: Found) -> None:
    """Tell of the basis file at `path`, before it gets its name; raises `StorageError`."""
    journal_at(path.with_name(NAME)).append(found, settle=False)


def look(path: Path, body: Mapping[str, Any], lines: Mapping[str, Found] | None = None) -> Found:
    """What is known of the basis file at `path`, whose header says `body`; raises `StorageError`.

    Who looks for many gives what `told` gave of its folder: each look on its own reads the folder's file.
    """
    key = str(body["id"])
    if found := _last(path.with_name(NAME), key) if lines is None else lines.get(key):
        return found
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        return Found(key, body["written_at"], sum(float(one["seconds"]) for one in body["directions"]))
    with reading_errors(path):
        return Found(key, stamp(datetime.fromtimestamp(path.stat().st_mtime, UTC)))


def told(folder: Path) -> dict[str, Found]:
    """What the file of a folder of bases tells of each, by id; of several lines the last counts."""
    return {one.id: one for one in journal_at(folder / NAME).read()}


def journal_at(path: Path) -> Journal[Found]:
    """The journal in a file that tells of bases."""
    return Journal(path, parse)


def parse(line: bytes) -> Found:
    """What a line tells; raises `Unfit` when it is none."""
    return checked.parse(Found, line, most=checked.LONGEST)


def files(home: Home) -> list[Path]:
    """All files that tell of bases."""
    return sorted(home.bases.glob(f"*/{NAME}"))


def _last(path: Path, key: str) -> Found | None:
    """The last line of that basis that says something, looked for from the end: a folder may tell of thousands."""
    with reading_errors(path):
        try:
            data = regular_bytes(path)
        except FileNotFoundError:
            return None
    mark = f'"id":"{key}"'.encode()
    at = data.rfind(mark)
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        if end >= 0:
            with contextlib.suppress(checked.Unfit):
                return parse(data[start:end])
        at = data.rfind(mark, 0, start)
    return None
