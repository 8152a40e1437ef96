"""Lists of directions that somebody made, and views that somebody kept: HOME/lists/NAME.json."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from loco.errors import InputError, UnknownName
from loco.files import make_folder, reading_errors, storage_errors, write_atomic
from loco.ids import ID_LENGTH, is_id
from loco.outside import regular_bytes
from registry.files import checked
from registry.files.registered import check_name, listed
from registry.home import Home
from registry.records import now, utc

MOST = 10_000
"""Directions of one list."""

LONGEST = 2_000
"""Characters of a note, or of a view's query."""


@dataclass(frozen=True)
class DirectionList:
    """A list of directions, or a view.

    Attributes:
        name: What it is called; unique in a home.
        note: What it is for.
        ids: The directions, in order; of a view none.
        notes: What is to be said of some of them here, by id.
        query: Of a view, the filters as the page's URL has them; else empty.
        who: Who changed it last.
        at: When: naive UTC, ISO 8601.
    """

    name: str
    note: str = ""
    ids: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    query: str = ""
    who: str = ""
    at: str = ""


def list_path(home: Home, name: str) -> Path:
    """Where the list of that name lies; raises `InputError` for a bad name."""
    return home.root / "lists" / f"{check_name(name, 'list')}.json"


def read_list(path: Path) -> DirectionList:
    """The list in a file; raises `Damaged` or `NewerFormat` naming the file and the remedy."""
    with reading_errors(path):
        data = regular_bytes(path)
    with checked.explained("list file", path, "delete it and make the list again"):
        found = checked.parse(DirectionList, data)
        _check(found)
        if found.name != path.stem:
            raise checked.Unfit(f"it describes {found.name[:120]!r}")
    return found


def all_lists(home: Home) -> list[DirectionList]:
    """All lists and views, by name; raises as `read_list`."""
    return [read_list(path) for path in listed(home.root / "lists")]


def one_list(home: Home, name: str) -> DirectionList:
    """The list of that name; raises `UnknownName` listing those there are."""
    path = list_path(home, name)
    if not path.is_file():
        known = ", ".join(one.stem for one in listed(home.root / "lists")) or "none was made yet"
        raise UnknownName(f"no list is called {name!r}; known are {known[:400]}")
    return read_list(path)


def change(home: Home, name: str, who: str, make: Callable[[DirectionList], DirectionList]) -> DirectionList:
    """Write what `make` makes of the list of that name, an empty one where there is none; one process at a time.

    Raises `InputError` for what no list can be.
    """
    path = list_path(home, name)
    with _changing(home):
        before = read_list(path) if path.is_file() else DirectionList(name)
        after = replace(make(before), name=name, who=who, at=now())
        try:
            _check(after)
        except checked.Unfit as error:
            raise InputError(f"list {name}: {error}") from error
        write_atomic(path, checked.sealed(asdict(after)))
    return after


def forget(home: Home, name: str) -> None:
    """Delete the list of that name; raises `UnknownName` where there is none."""
    path = list_path(home, name)
    with _changing(home):
        one_list(home, name)
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _check(one: DirectionList) -> None:
    """Raise `Unfit` unless it can be a list: a file may come from anywhere."""
    try:
        check_name(one.name, "list")
        utc(one.at)
    except InputError as error:
        raise checked.Unfit(str(error)) from error
    if len(one.ids) > MOST or len(set(one.ids)) != len(one.ids):
        raise checked.Unfit(f"expected up to {MOST} directions, each once, found {len(one.ids)}")
    if not all(map(is_id, one.ids)):
        raise checked.Unfit(f"expected ids of {ID_LENGTH} characters of 0-9 and a-f")
    if not set(one.notes) <= set(one.ids):
        raise checked.Unfit("a note must be of one of its directions")
    if any(len(text) > LONGEST for text in (one.note, one.query, *one.notes.values())):
        raise checked.Unfit(f"a note has up to {LONGEST} characters")


@contextmanager
def _changing(home: Home) -> Iterator[None]:
    path = home.root / "lists" / ".lock"
    with storage_errors(path):
        make_folder(path.parent)
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
