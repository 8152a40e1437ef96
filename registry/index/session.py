"""One operation on the catalogue: lock, connect, work, commit, close. No file stays open in between.

Two databases stand behind it. An embedded DuckDB file has our own lock in front of it: one writer, or several readers.
A PostgreSQL server holds an advisory lock for us: one writer, and readers that see the last commit meanwhile.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from loco.errors import InputError, LocoError, RegistryBusy, RegistryError, StorageError
from loco.files import make_folder, storage_errors
from loco.urls import masked
from registry.database import credentials, postgres, waiting
from registry.database.locks import locked
from registry.database.reading import CONFIG, attached
from registry.index import migrations
from registry.index.tables import SCHEMA_VERSION, SchemaVersionRow, Table

_Result = TypeVar("_Result")

_URLS = "a URL such as duckdb:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


class Catalogue:
    """A database that is opened for each operation anew.

    Attributes:
        url: Where it is.
        file: Its file when it is an embedded DuckDB, else None.
        timeout: Seconds to wait while others hold it.

    An embedded one that it once saw is never made anew: when the file is gone, any operation raises.
    """

    def __init__(self, default: Path, url: str | None, timeout: float | None) -> None:
        try:
            self.url = (
                URL.create("duckdb", database=str(default.absolute())) if url is None else make_url(url)
            )
        except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
            found = repr(url) if "@" not in str(url) or "://" in str(url) else "no scheme"
            raise InputError(f"registry: expected {_URLS}, found {found}") from error
        if self.url.get_backend_name() == "postgresql":
            self.url = credentials.completed(self.url, default.absolute().parent)
        kind = self.url.get_backend_name()
        if kind == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        elif kind in ("http", "https"):
            raise InputError(
                "registry: a served catalogue does not do this; run the command where the home is, or use the page"
            )
        elif kind != "duckdb":
            raise InputError(f"registry: expected {_URLS}, found one of {kind!r}")
        self.timeout = waiting.patience(timeout)
        self.file: Path | None = None
        self._begun = False
        self._engines: dict[bool, Engine] = {}
        if self.url.get_backend_name() == "duckdb":
            if self.url.database in (None, "", ":memory:"):
                raise InputError("registry: a catalogue in memory would be empty at each step; name a file")
            self.file = Path(str(self.url.database))
            if "?" in str(self.file):
                # DuckDB 1.5 puts its log's ending before a question mark and then cannot open it.
                raise InputError(f"registry: DuckDB takes no path with a question mark, found {self.file}")

    def read(self, work: Callable[[Session], _Result], empty: _Result) -> _Result:
        """What `work` reads, or `empty` while there is no catalogue.

        Raises `RegistryBusy`, `StorageError` or `RegistryError`, each with its remedy.
        """
        if self.file is not None and not (self.file.exists() and self.file.stat().st_size):
            self._must_be_new()
            return empty

        def look(left: float) -> tuple[bool, _Result]:
            with (
                self.lock(exclusive=False, timeout=left),
                self._explained(),
                Session(self._engine(read_only=True)) as session,
            ):
                version = self._version(session)
                if version is None:
                    self._must_be_new()
                    return True, empty
                self._begun = True
                if version == SCHEMA_VERSION:
                    return True, work(session)
                self._may_migrate(version)
                return False, empty

        for _ in range(2):
            done, found = self._until_free(look)
            if done:
                return found
            self.write(lambda _: None)
        raise RegistryError(
            f"the catalogue {self} changes its version while it is read; run the command again"
        )

    def migrate(self) -> list[str]:
        """Bring an older catalogue to the present tables; returns what was done, nothing when it is there.

        Raises `RegistryError` for a catalogue of a newer program.
        """

        if self.file is not None and self._absent(self.file):
            return []
        self._engine(read_only=False)

        def work(left: float) -> list[str]:
            with self.lock(exclusive=True, timeout=left), self._explained():
                with Session(self._engine(read_only=False)) as session:
                    version = self._version(session)
                return [] if version is None else self._step_up(version)

        return self._until_free(work)

    def _step_up(self, version: int) -> list[str]:
        """Do the pending steps, each in a transaction of its own, for a caller who holds the lock."""
        self._not_newer(version)
        steps = migrations.pending(version)
        for step in steps:
            with Session(self._engine(read_only=False)) as session:
                self._take_turn(session)
                if self._version(session) != step.version - 1:
                    continue  # someone else did it while we waited
                migrations.apply(session, step)
                session.commit()
        return [f"{step.version}: {step.name}" for step in steps]

    def write(self, work: Callable[[Session], _Result], *, renew: bool = False) -> _Result:
        """Do `work` in one transaction, making the catalogue if there is none; all of it or nothing.

        With `renew` tables of any other version are replaced by empty ones.

        Raises `RegistryBusy`, `StorageError` or `RegistryError`, each with its remedy.
        """
        self._engine(read_only=False)  # loads the database's library: not while others wait

        def attempt(left: float) -> _Result:
            with self.lock(exclusive=True, timeout=left):
                return self.write_locked(work, renew=renew)

        return self._until_free(attempt)

    def _until_free(self, work: Callable[[float], _Result]) -> _Result:
        """What `work` gives, once no other program has the file; on a server the server makes us wait."""
        return waiting.until_free(work, str(self), self.timeout)

    def write_locked(self, work: Callable[[Session], _Result], *, renew: bool = False) -> _Result:
        """The same, for a caller who holds the lock or whose file no one else knows."""
        made = self.file is not None and self._absent(self.file)
        if made:
            self._must_be_new()
        try:
            with self._explained(), Session(self._engine(read_only=False)) as session:
                self._take_turn(session)
                version = self._version(session)
                if renew and version not in (None, SCHEMA_VERSION):
                    Table.metadata.drop_all(session.connection())
                    version = None
                if version is None:
                    if not renew:
                        self._must_be_new()
                    Table.metadata.create_all(session.connection(), checkfirst=False)
                    session.execute(insert(SchemaVersionRow), [{"version": SCHEMA_VERSION}])
                elif version != SCHEMA_VERSION:
                    self._may_migrate(version)
                    session.rollback()
                    self._step_up(version)
                result = work(session)
                session.commit()
                self._begun = True
                return result
        except BaseException:
            if made and self.file is not None:
                # Half a new database would look like a damaged one to the next who opens it.
                _remove(self.file)
            raise

    def replace_locked(self, new: Path) -> None:
        """Put the closed database file `new` in place of an embedded catalogue, for a caller who holds its lock."""
        file = self.file
        assert file is not None
        log, left = (one.with_name(f"{one.name}.wal") for one in (file, new))
        if left.exists():
            raise StorageError(f"{new} was not closed whole; check the disk, then run the same command again")
        if log.exists():
            # DuckDB would replay it onto the new file. The old one takes it in first: killed before the new one
            # is there, we leave what was there.
            with contextlib.suppress(LocoError), self._explained():
                self._engine(read_only=False).connect().close()
        with storage_errors(file):
            log.unlink(missing_ok=True)
            new.replace(file)
        self._begun = True

    def _must_be_new(self) -> None:
        """Raise where a database is to be made, or taken for empty, and there was one before."""
        if self._begun and self.file is not None:
            raise RegistryError(
                f"the catalogue {self} is gone, and was there a moment ago; stop whatever deleted it, then "
                f"`loco registry reindex` rebuilds it from the files"
            )

    @staticmethod
    def _absent(file: Path) -> bool:
        """Whether there is no database yet; an empty file, left by a killed process, is cleared away."""
        if not file.exists():
            return True
        if file.stat().st_size:
            return False
        _remove(file)
        return True

    @contextlib.contextmanager
    def lock(self, *, exclusive: bool, timeout: float | None = None) -> Iterator[None]:
        """Hold the lock of an embedded catalogue, for which we wait up to `timeout` seconds; a server has its own."""
        if self.file is None:
            yield
            return
        if exclusive:
            with storage_errors(self.file):
                make_folder(self.file.parent)
        with locked(self.file, exclusive=exclusive, timeout=self.timeout if timeout is None else timeout):
            yield

    def _engine(self, *, read_only: bool) -> Engine:
        """An engine that opens a connection for each session and closes it after."""
        if read_only not in self._engines:
            if self.file is not None:
                how: dict[str, Any] = (
                    {"creator": partial(attached, self.file)}
                    if read_only
                    else {"connect_args": {"config": dict(CONFIG)}}
                )
                engine = create_engine(self.url, poolclass=NullPool, **how)
            else:
                engine = postgres.engine(self.url, self.timeout, read_only=read_only)
            self._engines[read_only] = engine
        return self._engines[read_only]

    def _take_turn(self, session: Session) -> None:
        """On a server, wait until no one else writes; an embedded catalogue has our lock in front of it."""
        if self.file is None:
            postgres.take_turn(session, self.timeout)

    @staticmethod
    def _version(session: Session) -> int | None:
        """The version of the tables, or None while there are none."""
        if session.get_bind().dialect.name == "postgresql":
            # A failed statement would end the transaction, and with it the turn to write.
            if session.scalar(text("SELECT to_regclass('schema_version')")) is None:
                return None
            return session.scalar(select(SchemaVersionRow.version))
        try:
            # Asking for the row costs a fifth of asking whether the table is there.
            return session.scalar(select(SchemaVersionRow.version))
        except ProgrammingError:
            session.rollback()
            return None

    def _may_migrate(self, version: int) -> None:
        """Raise unless a catalogue of that version is brought up to date by whoever opens it.

        An embedded one is. A shared one only by `loco registry migrate`: older programs on other machines
        could not use it any more.
        """
        self._not_newer(version)
        if self.file is None:
            raise RegistryError(
                f"the catalogue {self} has tables of version {version}, this program has {SCHEMA_VERSION}; "
                f"bring all who share it to this program, then run `loco registry migrate` once"
            )

    def _not_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise RegistryError(
                f"the catalogue {self} has tables of version {version}, this program has {SCHEMA_VERSION}; "
                f"use the newer program, or `loco registry reindex` to rebuild it from the files"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except LocoError:
            raise
        except UnicodeEncodeError as error:
            raise InputError(f"expected text in UTF-8, found {error.object[:80]!a}") from error
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C
                raise KeyboardInterrupt from error
            if str(error).startswith(
                "Unable to cast Python instance"
            ):  # and of text with bytes that are no UTF-8
                raise InputError("expected text in UTF-8, found other bytes") from error
            raise
        except _database_errors() as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> LocoError:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:300]
        if self.file is None:
            return postgres.explain(
                str(self), getattr(error, "orig", None) or error, cause, self.timeout, self.url
            )
        holder = waiting.refused(cause)
        if holder is not None:
            return waiting.Taken(holder)
        if "different configuration than existing" in cause or "file handle conflict" in cause:
            return RegistryBusy(
                f"the catalogue {self} is open in this very process, by a DuckDB connection that is not ours; close "
                f"it, and read a copy instead: `loco registry snapshot` makes one"
            )
        if "not a valid DuckDB" in cause or "Corrupt" in cause or "checksum" in cause:
            return RegistryError(
                f"the catalogue {self} is damaged: {cause}; "
                f"`loco registry reindex` rebuilds it from the files"
            )
        if self.file is not None and any(
            sign in cause
            for sign in (
                "IO Error",
                "No space",
                "File too large",
                "Read-only",
                "ermission denied",
                "Cannot open file",
            )
        ):
            return StorageError(
                f"cannot use the catalogue {self}: {cause}; free or enlarge the disk, or make the folder "
                f"writable, then run the same command again"
            )
        return RegistryError(
            f"the catalogue {self} refused: {cause}; `loco registry verify` looks for damage, "
            f"`loco registry reindex` rebuilds it from the files"
        )

    def __str__(self) -> str:
        return str(self.file) if self.file is not None else masked(str(self.url))


def _remove(file: Path) -> None:
    """Delete a database that holds nothing, and its log."""
    with storage_errors(file):
        file.unlink(missing_ok=True)
        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)


def _database_errors() -> tuple[type[Exception], ...]:
    """What a database raises; looked up only when something was raised, to keep the import light."""
    import duckdb

    # OSError and the driver's own errors arise in a bulk copy, which does not pass through SQLAlchemy.
    return (SQLAlchemyError, duckdb.Error, *postgres.errors())
