"""`reindex`: a fresh catalogue from the files, swapped in whole."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from loco import files
from loco.errors import Damaged, InputError, LocoError, NewerFormat, RegistryError, StorageError
from loco.ids import is_id
from registry.files import found, history, registered, shared, transfers
from registry.files.basis import Entry, holds, is_newer, read_entry
from registry.files.found import Found
from registry.files.journal import Line
from registry.home import Home
from registry.index import events, queries, runs
from registry.index.rows import (
    chunks,
    drop_bases,
    put_bases,
    put_dataset,
    put_model,
    put_transfers,
)
from registry.index.session import Catalogue
from registry.index.tables import (
    BasisRow,
    DatasetRow,
    EditRow,
    MigrationRow,
    ModelRow,
    RunRow,
    SchemaVersionRow,
    Table,
)
from registry.upkeep.verify import basis_files

_FILES_A_TRANSACTION = 500

_Seen = dict[Path, tuple[int, int, int]]
_Lines = dict[Path, dict[str, Found]]


def reindex(catalogue: Catalogue, home: Home) -> dict[str, int]:
    """Rebuild the catalogue from bases, models, datasets and manifests; returns counts as `summary` does.

    `damaged` counts the files that were passed over, `newer` those of a newer program, if there are any; `verify`
    names them. The long part, reading the basis
    files, is done beside, without the lock; what other processes add meanwhile is caught up with under it.
    Raises `RegistryBusy` and `StorageError`; the old catalogue is then as it was.
    """
    _fetch(home)
    if catalogue.file is None:
        return _in_place(catalogue, home)
    with files.scratch(catalogue.file.parent) as folder:
        fresh = Catalogue(folder / catalogue.file.name, None, catalogue.timeout)
        seen: _Seen = {}
        broken: set[Path] = set()
        _catch_up(fresh, home, seen, broken)
        with catalogue.lock(exclusive=True):
            # Files come before rows: whatever has a row by now has a file that this second look sees.
            _catch_up(fresh, home, seen, broken)

            def finish(session: Session) -> tuple[dict[str, int], _Told]:
                told = _put_records(session, home)
                return _checked(session, told, len(seen) - len(broken)), told

            counts, told = fresh.write_locked(finish)
            catalogue.replace_locked(folder / catalogue.file.name)
    return counts | _passed_over(told, broken)


def complete(catalogue: Catalogue, home: Home) -> int:
    """Rows of what only basis files tell, for bases that an older program catalogued; returns how many.

    Files that are missing or damaged are passed over.
    """

    def look(session: Session) -> list[str]:
        bare = select(BasisRow.id).where(BasisRow.size == 0).order_by(BasisRow.id)
        return list(session.scalars(bare))

    done, lines = 0, _Lines()
    for part in chunks(catalogue.read(look, list[str]()), _FILES_A_TRANSACTION):
        entries = _entries([home.basis(basis_id) for basis_id in part], home, set(), lines)
        if not entries:
            continue

        def work(session: Session, entries: list[Entry] = entries) -> None:
            drop_bases(session, [str(entry.body["id"]) for entry in entries])
            put_bases(session, entries)

        catalogue.write(work)
        done += len(entries)
    return done


def _in_place(catalogue: Catalogue, home: Home) -> dict[str, int]:
    """The same on a database server, where one transaction hides the work from everyone else."""

    def work(session: Session) -> dict[str, int]:
        for table in reversed(Table.metadata.sorted_tables):
            if table.name not in (SchemaVersionRow.__tablename__, MigrationRow.__tablename__):
                session.execute(delete(table))
        broken: set[Path] = set()
        seen, lines = 0, _Lines()
        for part in chunks(basis_files(home), _FILES_A_TRANSACTION):
            put_bases(session, _entries(part, home, broken, lines))
            seen += len(part)
        told = _put_records(session, home)
        counts = _checked(session, told, seen - len(broken))
        return counts | _passed_over(told, broken)

    return catalogue.write(work, renew=True)


def _catch_up(fresh: Catalogue, home: Home, seen: _Seen, broken: set[Path]) -> None:
    """Bring the bases' rows to what the files say now.

    `seen` remembers what was looked at before, `broken` what of it cannot be catalogued.
    """
    now: _Seen = {}
    for path in basis_files(home):
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            now[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    changed = [path for path, state in now.items() if seen.get(path) != state]
    gone = [path for path in seen if path not in now]
    broken.difference_update(changed, gone)

    def forget(session: Session) -> None:
        stale = [path.stem for path in (*gone, *changed) if path in seen]
        drop_bases(session, [basis_id for basis_id in stale if is_id(basis_id)])

    if seen:
        fresh.write_locked(forget)
    lines = _Lines()
    for part in chunks(changed, _FILES_A_TRANSACTION):
        entries = _entries(part, home, broken, lines)
        fresh.write_locked(lambda session, entries=entries: put_bases(session, entries))  # type: ignore[misc]
    seen.clear()
    seen.update(now)


def _entries(paths: Iterable[Path], home: Home, broken: set[Path], lines: _Lines) -> list[Entry]:
    """What the sound files among these tell; the others go to `broken`.

    `lines` keeps what was told of the last folder: paths in order read each folder's file once.
    """
    entries = []
    for path in paths:
        try:
            if path.parent not in lines:
                lines.clear()
                lines[path.parent] = found.told(path.parent)
            entry = read_entry(path, lines[path.parent])
            if home.basis(entry.body["id"]) != path:
                raise StorageError(f"basis file {path} is not where it belongs")
            entries.append(entry)
        except StorageError:
            broken.add(path)
    return entries


def _fetch(home: Home) -> None:
    """Bring here what only the shared store has; what is damaged there is passed over (`verify` names it)."""
    store = shared.shared(home)
    if store is not None:
        for basis_id in sorted(filter(is_id, store.ids())):
            with contextlib.suppress(StorageError):
                holds(home, basis_id)


@dataclass
class _Told:
    """How many of each the files tell of, and what was wrong with those that cannot be read."""

    models: int = 0
    datasets: int = 0
    runs: int = 0
    edits: int = 0
    passed: list[LocoError] = field(default_factory=list)


def _put_records(session: Session, home: Home) -> _Told:
    """Rows of models, datasets, runs, edits, scores and what people said."""
    told = _Told()
    for path in registered.listed(home.models):
        try:
            put_model(session, registered.read_model(path))
            told.models += 1
        except (StorageError, InputError) as error:
            told.passed.append(error)
    for path in registered.listed(home.datasets):
        try:
            put_dataset(session, registered.read_dataset(path))
            told.datasets += 1
        except (StorageError, InputError) as error:
            told.passed.append(error)
    for path in sorted(home.runs.glob("*/manifest.jsonl")):
        try:
            taken = runs.take_in(session, home, path.parent.name)
        except (StorageError, InputError) as error:
            told.passed.append(error)
            continue
        told.runs += taken.run
        told.edits += taken.edits
        told.passed += _lines_of(path, taken.bad)
    put_transfers(session, transfers.told(home))
    for path in transfers.files(home):
        told.passed += _lines_of(path, transfers.journal_at(path).bad())
    events.take_in(session, home)
    told.passed += _lines_of(history.history_path(home), history.journal_of(home).bad())
    return told


def _lines_of(path: Path, bad: Sequence[Line[Any]]) -> list[LocoError]:
    """At most one error for a journal that has lines which say nothing here."""
    if not bad:
        return []
    kind = NewerFormat if all(line.newer for line in bad) else Damaged
    return [kind(f"{path}: {len(bad)} lines say nothing here")]


def _passed_over(told: _Told, broken: set[Path]) -> dict[str, int]:
    """How many files have no rows: `damaged`, and where there are any those of a `newer` program."""
    newer = sum(isinstance(error, NewerFormat) for error in told.passed) + sum(map(is_newer, broken))
    counts = {"damaged": len(told.passed) + len(broken) - newer}
    return counts | ({"newer": newer} if newer else {})


def _checked(session: Session, told: _Told, bases: int) -> dict[str, int]:
    """The counts of the new catalogue; raises `RegistryError` when they are not those of the files."""
    wanted = {
        BasisRow: bases,
        ModelRow: told.models,
        DatasetRow: told.datasets,
        RunRow: told.runs,
        EditRow: told.edits,
    }
    found = {row: session.scalar(select(func.count()).select_from(row)) for row in wanted}
    wrong = [
        f"{found[row]} {row.__tablename__} where the files tell of {number}"
        for row, number in wanted.items()
        if found[row] != number
    ]
    if wrong:
        raise RegistryError(
            f"reindex: the new catalogue has {' and '.join(wrong)}; the old one stays as it was; see that nothing "
            f"else changes the home folder, then run the same command again"
        )
    return queries.summary(session)
