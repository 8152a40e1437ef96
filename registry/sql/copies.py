"""Copies of the embedded catalogue: whole, of one moment, made under the shared lock and no longer than copying takes.

Whoever looks for long looks into a copy, and is in nobody's way. The latest lies in HOME/cache/snapshots, named by the
state of the catalogue's file, and serves until that is another.
"""

import contextlib
import subprocess
import uuid
from pathlib import Path

from sqlalchemy.orm import Session

from loco.errors import InputError, StorageError
from loco.files import scratch, storage_errors
from loco.ids import content_id
from registry.database.reading import CONFIG
from registry.home import Home
from registry.index.session import Catalogue


def current(catalogue: Catalogue, home: Home) -> Path:
    """A copy of the embedded catalogue as it is now: the one that there is, or a new one.

    A process that makes a newer one deletes it: open it at once, and ask again when it is gone. Raises what
    reading the catalogue raises, and `StorageError` when the disk has no room for a copy.
    """
    folder = home.cache / "snapshots"
    known = folder / f"{_state(catalogue)}.duckdb"
    if known.exists():
        return known
    fresh = folder / f"{uuid.uuid4().hex}.duckdb"
    state = write(catalogue, fresh)
    kept = folder / f"{state}.duckdb"
    with storage_errors(kept):
        fresh.replace(kept)
    for other in folder.glob("*.duckdb"):
        if other != kept:
            with contextlib.suppress(OSError):
                other.unlink()  # whoever has it open keeps what they opened
    return kept


def write(catalogue: Catalogue, path: Path) -> str:
    """Copy the embedded catalogue to `path`, one DuckDB file for any program; returns the state that it had.

    Raises what reading the catalogue raises, and `StorageError` when the disk has no room.
    """
    with scratch(path.parent) as folder:
        copy = folder / "copy.duckdb"

        def work(_: Session) -> str:
            # The session has the file open: no program can write it meanwhile, ours or not.
            state = _state(catalogue)
            _cp(catalogue, copy)
            return state

        state = catalogue.read(work, None)
        if state is None:  # a home without a catalogue reads as an empty one
            state = _state(catalogue)
            Catalogue(copy, None, catalogue.timeout).write_locked(lambda _: None)
        if log_of(copy).exists():
            _settle(copy)
        with storage_errors(path):
            copy.replace(path)
        return state


def _state(catalogue: Catalogue) -> str:
    """What changes whenever the catalogue does, told from its file and its log."""
    if catalogue.file is None:
        raise InputError(f"the catalogue {catalogue} is no file that could be copied")
    known: list[object] = [str(catalogue.file)]
    for path in (catalogue.file, log_of(catalogue.file)):
        with contextlib.suppress(OSError):
            told = path.stat()
            known += [told.st_ino, told.st_size, told.st_mtime_ns]
        known.append(None)
    return content_id("snapshot", known)


def _cp(catalogue: Catalogue, target: Path) -> None:
    """Copy file and log, by a process of its own.

    A process that closes any descriptor of a file loses its locks on it, and our readers' are DuckDB's. `cp` also
    makes a clone instead of a copy where the file system can.
    """
    assert catalogue.file is not None
    for source, to in ((catalogue.file, target), (log_of(catalogue.file), log_of(target))):
        if not source.exists():
            continue
        done = subprocess.run(["cp", "--", source, to], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StorageError(
                f"cannot copy the catalogue {source} to {to.parent}: {done.stderr.strip()[:300]}; free or enlarge "
                f"the disk, then run the same command again"
            )


def _settle(copy: Path) -> None:
    """Bring what the copied log tells into the copied file."""
    import duckdb

    with duckdb.connect(str(copy), config=dict(CONFIG)) as connection:
        connection.execute("CHECKPOINT")


def log_of(file: Path) -> Path:
    """DuckDB's log of what is not in the file yet."""
    return file.with_name(f"{file.name}.wal")
