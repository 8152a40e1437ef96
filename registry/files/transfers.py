"""How directions do on images that they were not found on: HOME/transfers/<ab>.jsonl, by the directions' ids.

One JSON object a line, only ever appended to; of several lines of one direction the last counts.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from loco.errors import InputError
from loco.ids import check_id
from registry.files import checked, journal
from registry.files.journal import Journal
from registry.home import Home
from registry.records import Transfer, utc

NAME = "transfers.jsonl"
"""Their name in an export."""


def path_of(home: Home, direction_id: str) -> Path:
    """The file that tells of a direction; raises `InputError` for what is no id."""
    return home.transfers / f"{check_id(direction_id, 'direction')[:2]}.jsonl"


def append(home: Home, transfers: Iterable[Transfer]) -> None:
    """Write a line each; raises `InputError` for what cannot be kept, before anything is written, or `StorageError`."""
    by_path: dict[Path, list[Transfer]] = {}
    for one in transfers:
        by_path.setdefault(path_of(home, check(one).direction_id), []).append(one)
    for path, several in by_path.items():
        journal.append(path, journal.text(several))


def check(one: Transfer) -> Transfer:
    """What is told, if it can be kept; raises `InputError` otherwise."""
    check_id(one.direction_id, "direction")
    if one.run_id:
        check_id(one.run_id, "run")
    utc(one.at)
    if not 0 <= one.transfer_images < 2**31:
        raise InputError(f"transfer: expected a number of images, found {one.transfer_images}")
    return one


def files(home: Home) -> list[Path]:
    """All files that tell of directions."""
    return sorted(home.transfers.glob("??.jsonl"))


def journal_at(path: Path) -> Journal[Transfer]:
    """The journal in such a file."""
    return Journal(path, parse)


def told(home: Home) -> Iterator[Transfer]:
    """What all files tell, the last of each direction; lines that say nothing are passed over."""
    for path in files(home):
        yield from {one.direction_id: one for one in journal_at(path).read()}.values()


def parse(line: bytes) -> Transfer:
    """What a line tells, checked as if it came from anywhere; raises `Unfit`."""
    one = checked.parse(Transfer, line, most=checked.LONGEST)
    try:
        return check(one)
    except InputError as error:
        raise checked.Unfit(str(error)) from error
