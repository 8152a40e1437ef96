"""What `verify` looks at that has no row in the catalogue: settings, schedules, masks, manifests of URLs, strangers."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from loco import files
from loco.errors import Damaged, ImageError, NewerFormat, StorageError
from loco.files import reading_errors
from loco.ids import is_id
from loco.outside import regular_bytes
from registry.files import checked, found, journal, lists, shared
from registry.files.journal import Line
from registry.home import Home, Part
from registry.records import Problem

REINDEX = "run `loco registry reindex`"
_DISK = "check the disk"
_LINES = 20
"""Bad lines of one journal that are named one by one."""


def unrecorded(home: Home, outputs: Iterable[Path], bases: Iterable[Path]) -> Iterator[Problem]:
    """All that is wrong with files that no row tells of; `outputs` lie there rightly, `bases` are the basis files."""
    yield from _store(home, bases)
    yield from _each(home, "schedules/*.json", _schedule, "delete it and create the schedule again")
    yield from _each(home, "adapted/*/adapted.json", _adapted, "add its model again")
    yield from _each(home, "lists/*.json", _list, "delete it and make the list again")
    yield from _each(home, "masks/??/*.png", _mask, "delete it: it is made again")
    yield from _each(home, "outputs/*.jsonl", _lines, "delete it: the next run there takes the URL's own")
    yield from _each(home, "outputs/*.claims", _claims, "delete it once no run is working")
    yield from _found(home)
    yield from _strangers(home, set(outputs))
    for path in files.leftovers(home.root):
        yield Problem(str(path), "half written", "run `loco registry gc --delete`")


def unknowable(home: Home, urls: int) -> list[str]:
    """What `verify` cannot tell, in words; `urls` is the number of outputs at URLs."""
    said = []
    bare = [path for path, part in home.files() if part is not None and _seals(part) and not _sealed(path)]
    if bare:
        said.append(
            f"{len(bare)} files of models, datasets, schedules or settings are of an earlier program and have no "
            f"checksum: {', '.join(str(path) for path in bare[:3])}{' ...' if len(bare) > 3 else ''}"
        )
    if urls:
        said.append(f"{urls} outputs at URLs are not downloaded")
    if home.prefect.is_dir():
        said.append(f"{home.prefect} is the Prefect server's own")
    return said


def unread(path: Path, error: StorageError, remedy: str = _DISK) -> Problem:
    """A file that cannot be read (the disk is to be checked), is damaged (there is that remedy) or is newer."""
    # The message names the file and ends with what to do; here both stand beside it.
    cause, _, told = str(error).replace(f" {path}", "").rpartition("; ")
    if isinstance(error, NewerFormat):
        return Problem(str(path), cause, told)
    return Problem(str(path), cause or str(error), remedy if isinstance(error, Damaged) else _DISK)


def bad_lines(path: Path, lines: Iterable[Line[Any]]) -> Iterator[Problem]:
    """The lines of a journal that say nothing here, by their numbers."""
    bad = [line for line in lines if line.item is None]
    for line in bad[:_LINES]:
        what = "is a newer program's" if line.newer else "says nothing"
        remedy = "use that program or a newer one here" if line.newer else f"remove that line, then {REINDEX}"
        yield Problem(str(path), f"line {line.number} {what}: {line.why}", remedy)
    if len(bad) > _LINES:
        yield Problem(str(path), f"{len(bad) - _LINES} more lines say nothing", "mend those named first")


def _store(home: Home, bases: Iterable[Path]) -> Iterator[Problem]:
    """The settings, and what the shared store lacks or has beyond."""
    try:
        store = shared.shared(home)
    except StorageError as error:
        yield unread(
            shared.settings_path(home), error, "delete it and set the store again with `loco registry store`"
        )
        return
    if store is None:
        return
    there, here = store.ids(), {path.stem for path in bases}
    for basis_id in sorted(here - there):
        yield Problem(
            store.place(basis_id), "missing in the shared store", "run `loco registry store --send`"
        )
    for basis_id in sorted(there - here):
        what = "not fetched yet" if is_id(basis_id) else "a foreign file in the shared store"
        yield Problem(store.place(basis_id), what, REINDEX if is_id(basis_id) else "move it elsewhere")


def _each(home: Home, pattern: str, look: Callable[[Path], str | None], remedy: str) -> Iterator[Problem]:
    """What `look` finds in each file of a part, in words."""
    for path in sorted(home.root.glob(pattern)):
        if files.is_partial(path):
            continue
        if not path.is_file():
            yield Problem(str(path), "no regular file", "delete it")
            continue
        try:
            with reading_errors(path):
                trouble = look(path)
        except StorageError as error:
            yield unread(path, error, remedy)
        else:
            if trouble:
                yield Problem(str(path), trouble, remedy)


def _schedule(path: Path) -> str | None:
    with checked.explained("schedule file", path, ""):
        told = checked.unsealed(checked.plain(regular_bytes(path), 1 << 20))
        if told.get("name") != path.stem:
            raise checked.Unfit(f"it describes {str(told.get('name'))[:120]!r}")
    return None


def _adapted(path: Path) -> str | None:
    with checked.explained("model file", path, ""):
        told = checked.unsealed(checked.plain(regular_bytes(path), 1 << 20))
        if not isinstance(told.get("base"), str):
            raise checked.Unfit("it names no base")
    return None


def _list(path: Path) -> str | None:
    lists.read_list(path)
    return None


def _mask(path: Path) -> str | None:
    from loco.decoding import decode

    try:
        decode(regular_bytes(path), path)
    except ImageError as error:
        return f"is no whole image: {str(error)[:200]}"
    return None


def _lines(path: Path) -> str | None:
    bad = 0
    for _, line in journal.whole(path):
        try:
            bad += line is None or not isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            bad += 1
    return f"{bad} of its lines are no records" if bad else None


def _claims(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            told = base.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        told = str(error)
    return None if told == "ok" else f"is no whole SQLite file: {told[:200]}"


def _found(home: Home) -> Iterator[Problem]:
    for path in found.files(home):
        try:
            yield from bad_lines(path, found.journal_at(path).bad())
        except StorageError as error:
            yield unread(path, error)


def _strangers(home: Home, outputs: set[Path]) -> Iterator[Problem]:
    """Files that are no part of a home. A folder beside the home's own counts as one, unless outputs lie in it."""
    own = {part.partition("/")[0] for part in home.patterns()}
    holding = {folder for path in outputs for folder in path.parents}
    told: set[Path] = set()
    for path, part in home.files():
        if part is not None or path in outputs:
            continue
        top = home.root / PurePosixPath(path.relative_to(home.root)).parts[0]
        if top != path and top.name not in own:
            if top in holding or top in told:
                continue
            told.add(top)
            yield Problem(str(top), "a foreign folder in the home", "move it elsewhere")
        else:
            what = "a foreign file among the bases" if top == home.bases else "a foreign file in the home"
            yield Problem(str(path), what, "move it elsewhere")


def _seals(part: Part) -> bool:
    """Whether such files carry a checksum of their own: those whose loss would be one."""
    return part.kind == "truth" and part.pattern.endswith(".json")


def _sealed(path: Path) -> bool:
    try:
        return checked.is_sealed(regular_bytes(path))
    except OSError:
        return True  # that it cannot be read is told elsewhere
