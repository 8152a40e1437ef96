"""A whole home or catalogue elsewhere: `backup` to an archive, `as_file` to a DuckDB file, `copy` to another URL."""

import contextlib
import sqlite3
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loco import files
from loco.errors import InputError, StorageError
from loco.files import storage_errors, sweep, writing
from registry.home import Home
from registry.index import bulk
from registry.index.session import Catalogue
from registry.index.tables import MigrationRow, SchemaVersionRow, SketchRow, Table
from registry.sql import copies


def backup(catalogue: Catalogue, home: Home, path: Path) -> int:
    """Write what `registry.home.PARTS` says is kept to one ZIP archive; returns the number of files.

    Unpacked into an empty folder it is a home. A catalogue on a server is not in it: `reindex` makes it again.
    Other processes may write meanwhile; what they finish after the start may be missing, nothing is half there.
    """

    def check_archive(written: Path) -> None:
        with zipfile.ZipFile(written) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise StorageError(f"{path}: {bad} does not read back as it was written; check the disk")

    count = 0
    sweep(path.parent, deep=False)
    with (
        writing(path, check_archive) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive,
    ):

        def add(kept: Iterable[Path]) -> int:
            added = 0
            for one in kept:
                if not one.is_file():  # a pipe or a socket holds nothing; `verify` names it
                    continue
                with contextlib.suppress(FileNotFoundError):
                    _add(archive, one, str(one.relative_to(home.root)))
                    added += 1
            return added

        # The index first: all files that it tells of are there already. As a copy, which has the log in it.
        if home.catalogue.is_file():
            with files.scratch(home.spool) as folder:
                copies.write(Catalogue(home.catalogue, None, catalogue.timeout), folder / "copy")
                archive.write(folder / "copy", home.catalogue.name)
            count += 1
        count += add(one for one, part in home.files(kept=True) if part is not None and part.kind != "index")
    return count


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """A file as it is; an SQLite file as one moment has it."""
    if path.suffix == ".claims":
        with contextlib.suppress(sqlite3.Error):
            with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
                archive.writestr(name, base.serialize())
            return
    archive.write(path, name)


def as_file(catalogue: Catalogue, path: Path, *, replace: bool = False) -> int:
    """Write the catalogue, as it is at one moment, to one DuckDB file; returns its size in bytes.

    Raises `InputError` when something is at `path` and `replace` was not said, or when it is the catalogue itself.
    """
    log = path.with_name(f"{path.name}.wal")
    if catalogue.file is not None and path.exists() and path.samefile(catalogue.file):
        raise InputError(f"snapshot: {path} is the catalogue itself; name another file")
    if path.is_dir():
        raise InputError(f"snapshot: expected the name of a file, found the folder {path}")
    if path.exists() and not replace:
        raise InputError(f"snapshot: {path} exists; --replace takes its place")
    if log.exists():
        raise InputError(f"snapshot: {log} says that a program is writing to {path}; name another file")
    if catalogue.file is not None:
        copies.write(catalogue, path)
    else:
        with files.scratch(path.parent) as folder:
            made = folder / "copy.duckdb"
            copy(catalogue, Catalogue(made, None, catalogue.timeout))
            with storage_errors(path):
                made.replace(path)
    return path.stat().st_size


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
