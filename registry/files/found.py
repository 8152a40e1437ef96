"""When bases were found and how long it took: HOME/bases/<ab>/found.jsonl, beside the files, which tell neither.

So the same work gives the same bytes, at whatever time and on however busy a machine. One JSON object a line; of
several lines of one basis the last counts. A file of which no line tells (it was copied here, or an older program wrote
it) has the time that it tells itself or, failing that, the file system's.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.files import reading_errors
from loco.ids import canonical
from registry.files import journal
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
    journal.append(path.with_name(NAME), text([found]), settle=False)


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
    known: dict[str, Found] = {}
    path = folder / NAME
    with reading_errors(path), contextlib.suppress(FileNotFoundError):
        for line in journal.whole(path):
            with contextlib.suppress(InputError):
                one = parse(line)
                known[one.id] = one
    return known


def text(found: Iterable[Found]) -> bytes:
    """Their lines."""
    return b"".join(canonical(asdict(one)).encode() + b"\n" for one in found)


def parse(line: bytes) -> Found:
    """What a line tells; raises `InputError` when it is none."""
    try:
        return Found(**json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"expected a line of {NAME}, found {line[:80]!r}: {error}") from error


def files(home: Home) -> list[Path]:
    """All files that tell of bases."""
    return sorted(home.bases.glob(f"*/{NAME}"))


def damaged(path: Path) -> int:
    """How many whole lines of the file are none; raises `StorageError`."""
    bad = 0
    with reading_errors(path):
        for line in journal.whole(path):
            try:
                parse(line)
            except InputError:
                bad += 1
    return bad


def _last(path: Path, key: str) -> Found | None:
    """The last line of that basis, looked for from the end: a folder may tell of thousands."""
    if not path.exists():
        return None
    with reading_errors(path):
        data = path.read_bytes()
    at = data.rfind(f'"id":"{key}"'.encode())
    end = data.find(b"\n", at)
    if at < 0 or end < 0:
        return None
    try:
        return parse(data[data.rfind(b"\n", 0, at) + 1 : end])
    except InputError:
        return None
