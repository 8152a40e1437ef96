"""`reindex`: a fresh catalogue from the files, swapped in whole."""

import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import delete
from sqlalchemy.orm import Session

from loco.errors import InputError, StorageError
from registry import files, manifests, queries
from registry.check import basis_files
from registry.home import Home, storage_errors
from registry.rows import chunks, drop_bases, put_bases, put_dataset, put_edits, put_model, put_run
from registry.session import Catalogue
from registry.store import Header, is_id, read_basis, read_header
from registry.tables import SchemaVersionRow, Table

_FILES_A_TRANSACTION = 500

_Seen = dict[Path, tuple[int, int, int]]


def reindex(catalogue: Catalogue, home: Home) -> dict[str, int]:
    """Rebuild the catalogue from bases, models, datasets and manifests; returns counts as `summary` does.

    `damaged` counts the files that were passed over; `verify` names them. The long part, reading the basis
    files, is done beside, without the lock; what other processes add meanwhile is caught up with under it.
    Raises `RegistryBusy` and `StorageError`; the old catalogue is then as it was.
    """
    if catalogue.file is None:
        return _in_place(catalogue, home)
    partial = catalogue.file.with_name(f".{catalogue.file.name}.{uuid.uuid4().hex}.partial")
    fresh = Catalogue(partial, None, catalogue.timeout)
    with storage_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        seen: _Seen = {}
        broken: set[Path] = set()
        _catch_up(fresh, home, seen, broken)
        with catalogue.lock(exclusive=True):
            # Files come before rows: whatever has a row by now has a file that this second look sees.
            _catch_up(fresh, home, seen, broken)
            damaged = fresh.write_locked(lambda session: _put_records(session, home))
            counts = fresh.write_locked(queries.summary)
            with storage_errors(catalogue.file):
                # The old file's log must go first: DuckDB would replay it onto the new one.
                _log_of(catalogue.file).unlink(missing_ok=True)
                partial.replace(catalogue.file)
    finally:
        for path in (partial, _log_of(partial)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return {**counts, "damaged": damaged + len(broken)}


def _in_place(catalogue: Catalogue, home: Home) -> dict[str, int]:
    """The same on a database server, where one transaction hides the work from everyone else."""

    def work(session: Session) -> dict[str, int]:
        for table in reversed(Table.metadata.sorted_tables):
            if table.name != SchemaVersionRow.__tablename__:
                session.execute(delete(table))
        broken: set[Path] = set()
        for part in chunks(basis_files(home), _FILES_A_TRANSACTION):
            put_bases(session, _headers(part, home, broken))
        damaged = _put_records(session, home)
        return {**queries.summary(session), "damaged": damaged + len(broken)}

    return catalogue.write(work)


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
    for part in chunks(changed, _FILES_A_TRANSACTION):
        headers = _headers(part, home, broken)
        fresh.write_locked(lambda session, headers=headers: put_bases(session, headers))  # type: ignore[misc]
    seen.clear()
    seen.update(now)


def _headers(paths: Iterable[Path], home: Home, broken: set[Path]) -> list[Header]:
    """The headers of the sound files among these; the others go to `broken`."""
    headers = []
    for path in paths:
        try:
            if home.basis(read_basis(path).id) != path:
                raise StorageError(f"basis file {path} is not where it belongs")
            headers.append(read_header(path))
        except StorageError:
            broken.add(path)
    return headers


def _put_records(session: Session, home: Home) -> int:
    """Rows of models, datasets, runs and edits; returns how many files could not be read."""
    damaged = 0
    for path in files.listed(home.models):
        try:
            put_model(session, files.read_model(path))
        except (StorageError, InputError):
            damaged += 1
    for path in files.listed(home.datasets):
        try:
            put_dataset(session, files.read_dataset(path))
        except (StorageError, InputError):
            damaged += 1
    for path in sorted(home.runs.glob("*/manifest.jsonl")):
        try:
            records = manifests.read(path)
            run, edits = manifests.run_of(records), manifests.edits_of(records)
            run_id = path.parent.name
            if any(one.run_id != run_id for one in edits) or (run is not None and run.id != run_id):
                raise StorageError(f"manifest {path} tells of another run")
            if run is not None:
                put_run(session, run)
            put_edits(session, run_id, edits)
        except (StorageError, InputError):
            damaged += 1
    return damaged


def _log_of(database: Path) -> Path:
    """DuckDB's write-ahead log of a database file."""
    return database.with_name(f"{database.name}.wal")
