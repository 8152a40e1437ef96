"""Upkeep of a whole home: `gc`, `backup`, and `copy` from one catalogue to another."""

import contextlib
import fcntl
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loco.errors import Damaged, InputError, StorageError
from registry.alike import matrix
from registry.files import shared
from registry.files.basis import read_basis
from registry.home import Home, storage_errors, writing
from registry.index import bulk, rows
from registry.index.session import Catalogue
from registry.index.tables import (
    AliasRow,
    DirectionRow,
    LabelRow,
    MigrationRow,
    RejectionRow,
    SchemaVersionRow,
    SketchRow,
    Table,
)
from registry.upkeep import verify

_KEPT = ("catalogue.duckdb", "store.json")
_FOLDERS = ("bases", "models", "datasets", "runs", "history")


@dataclass(frozen=True)
class Garbage:
    """Something that can go: its path, why, and how many bytes that frees."""

    path: str
    why: str
    size: int


def garbage(
    catalogue: Catalogue, home: Home, *, rejected: bool = False, damaged: bool = False
) -> list[Garbage]:
    """What nobody needs: what killed processes left half written, and old caches.

    With `rejected` also bases of which every direction was rejected and none has a label or an alias, with
    `damaged` also basis files that cannot be used any more.
    """
    found = [_item(path, "half written") for path in _leftovers(home)]
    found += [_item(path, "of an older set of bases") for path in matrix.stale(catalogue, home)]
    if rejected:
        found += [
            _item(home.basis(basis_id), "all of its directions were rejected")
            for basis_id in catalogue.read(_rejected, list[str]())
        ]
    if damaged:
        for path in verify.basis_files(home):
            try:
                read_basis(path)
            except Damaged:
                found.append(_item(path, "damaged"))
    return found


def collect(catalogue: Catalogue, home: Home, items: list[Garbage]) -> int:
    """Delete these; rows go before files, so that no row is ever without its file. Returns the bytes freed."""
    bases = [path.stem for path in (Path(item.path) for item in items) if home.basis(path.stem) == path]
    if bases:
        catalogue.write(lambda session: rows.drop_bases(session, bases))
    store = shared.shared(home)
    freed = 0
    for item in items:
        path = Path(item.path)
        with storage_errors(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if store is not None and path.stem in bases and store.has(path.stem):
            store.delete(path.stem)
        freed += item.size
    return freed


def backup(catalogue: Catalogue, home: Home, path: Path) -> int:
    """Write all of the home but caches and outputs to one ZIP archive; returns the number of files.

    Unpacked into an empty folder it is a home. A catalogue on a server is not in it: `reindex` makes it again.
    Other processes may write meanwhile; what they finish after the start may be missing, nothing is half there.
    """

    def check_archive(written: Path) -> None:
        with zipfile.ZipFile(written) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise StorageError(f"{path}: {bad} does not read back as it was written; check the disk")

    count = 0
    with writing(path, check_archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # The index first, under the lock: all files that it tells of are there already.
        with catalogue.lock(exclusive=False):
            for name in _KEPT:
                if (home.root / name).is_file():
                    archive.write(home.root / name, name)
                    count += 1
        for folder in _FOLDERS:
            for one in sorted((home.root / folder).rglob("*")):
                if one.is_file() and not one.name.endswith(".partial"):
                    with contextlib.suppress(FileNotFoundError):
                        archive.write(one, str(one.relative_to(home.root)))
                        count += 1
    return count


def copy(source: Catalogue, target: Catalogue, *, replace: bool = False) -> dict[str, int]:
    """Copy all rows of one catalogue to another, in one transaction there; returns the rows of each table.

    The files stay where they are: both catalogues are indexes of one home. Raises `InputError` when the target
    is the source, or holds something already and `replace` was not said.
    """
    if source.url == target.url:
        raise InputError(f"copy: {source} is both source and target")
    tables = [
        mapper.class_
        for mapper in Table.registry.mappers
        if mapper.class_ not in (SchemaVersionRow, MigrationRow)
    ]

    def read(session: Session) -> dict[str, object]:
        found: dict[str, object] = {}
        for table in tables:
            if table is SketchRow:
                found[table.__tablename__] = bulk.read_sketches(session)
            else:
                found[table.__tablename__] = bulk.to_arrow(session, select(*table.__table__.columns))
        return found

    data = source.read(read, dict[str, object]())
    if not data:
        raise InputError(f"copy: there is no catalogue at {source}")

    def write(session: Session) -> dict[str, int]:
        for table in tables:
            if session.scalar(select(func.count()).select_from(table)):
                if not replace:
                    raise InputError(f"copy: {target} holds something already; --replace takes its place")
                session.execute(table.__table__.delete())
        counts = {}
        for table in tables:
            content: Any = data[table.__tablename__]
            if isinstance(content, tuple):
                ids, at, sketches = content
                bulk.insert_sketches(session, [bytes(one).decode() for one in ids], at.tolist(), sketches)
                counts[table.__tablename__] = len(ids)
            else:
                bulk.insert_arrow(session, table, content)
                counts[table.__tablename__] = content.num_rows
        return dict(sorted(counts.items()))

    return target.write(write)


def _leftovers(home: Home) -> list[Path]:
    """Half-written files and folders that no living process is writing."""
    found = []
    for folder in (
        home.root.glob,
        home.bases.rglob,
        home.models.rglob,
        home.datasets.rglob,
        home.runs.rglob,
        home.cache.rglob,
    ):
        for path in sorted(folder(".*.partial*")):
            if path.is_dir():
                found.append(path)
                continue
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(path)
    return found


def _rejected(session: Session) -> list[str]:
    """Bases of which every direction was rejected and none has a label or an alias."""
    row = DirectionRow
    kept = select(row.basis_id).where(row.id.not_in(select(RejectionRow.direction_id)))
    named = select(row.basis_id).where(
        row.id.in_(select(LabelRow.direction_id).union(select(AliasRow.direction_id)))
    )
    query = select(row.basis_id).where(row.basis_id.not_in(kept), row.basis_id.not_in(named)).distinct()
    return sorted(session.scalars(query))


def _item(path: Path, why: str) -> Garbage:
    try:
        size = sum(one.stat().st_size for one in path.rglob("*")) if path.is_dir() else path.stat().st_size
    except OSError:
        size = 0
    return Garbage(str(path), why, size)
