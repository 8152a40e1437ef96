"""Questions to the embedded catalogue: a copy of it, and an instance that can do nothing but read that copy."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from loco.errors import InputError, LocoError, RegistryError
from registry.database.reading import CONFIG
from registry.home import Home
from registry.index.session import Catalogue
from registry.sql import copies
from registry.sql.question import BATCH, Answer, Limits, checked, slow

if TYPE_CHECKING:
    import duckdb
    import pyarrow


_SEALS = {
    "temp_directory": "",  # what does not fit into memory is refused: nothing is written
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",  # names of Python's variables are no tables
}
"""Settings of an instance that may reach nothing, in the order in which they can be set."""


def sealed(catalogue: Catalogue, home: Home, limits: Limits) -> "duckdb.DuckDBPyConnection":
    """A connection to a copy that can do nothing but read it."""
    import duckdb

    for last in (False, False, True):
        path = copies.current(catalogue, home)
        connection = duckdb.connect(":memory:", config=dict(CONFIG))
        try:
            place = str(path).replace("'", "''")
            connection.execute(f"ATTACH '{place}' AS catalogue (READ_ONLY)")
            connection.execute("USE catalogue")
            for name, value in _SEALS.items():
                connection.execute(f"SET {name} = '{value}'")
            connection.execute(f"SET memory_limit = '{limits.memory}'")
            connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            connection.close()
            if last:
                raise RegistryError(
                    f"cannot read the copy {path} of the catalogue: {_first(error)}; run the same again"
                ) from error
            path.unlink(missing_ok=True)  # damaged; or another process has made a newer one
            continue
        return connection
    raise AssertionError


class Embedded:
    """Asks a sealed connection."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", limits: Limits) -> None:
        self._connection, self._limits = connection, limits

    def close(self) -> None:
        """Let go of the copy, whatever is still being asked."""
        self._connection.interrupt()  # closing would wait for it
        self._connection.close()

    def ask(self, question: str) -> Iterator[Answer]:
        """See `registry.sql.question.Reader`."""
        import duckdb

        question = checked(question)
        with self._explained():
            statements = self._connection.extract_statements(question)
        kinds = duckdb.StatementType
        for statement in statements:
            if statement.type not in (kinds.SELECT, kinds.EXPLAIN, kinds.CREATE):
                raise InputError(
                    f"sql: expected a question (select, explain, show, describe), found one of the kind "
                    f"{statement.type.name}; nothing can be changed here"
                )
            with self._explained():
                self._connection.execute(statement)
                described = self._connection.description or []
            if statement.type != kinds.CREATE:  # a temporary table or view, for the statements after it
                yield Answer([one[0] for one in described], self)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """See `registry.sql.question.Source`."""
        while True:
            with self._explained():
                found = self._connection.fetchmany(BATCH)
            if not found:
                return
            yield from found

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        """See `registry.sql.question.Source`."""
        import pyarrow

        with self._explained():
            stream = self._connection.to_arrow_reader(BATCH)
        yield pyarrow.RecordBatch.from_pylist([], schema=stream.schema)
        while True:
            with self._explained():
                batch = next(iter(stream), None)
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's errors into ours, and end what takes too long."""
        import duckdb

        late = threading.Event()

        def stop() -> None:
            late.set()
            self._connection.interrupt()

        timer = threading.Timer(self._limits.seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (duckdb.Error, RuntimeError, OSError) as error:
            # After a signal DuckDB's other threads would go on, and the next question wait for them.
            self._connection.interrupt()
            raise _explain(error, self._limits, late=late.is_set()) from error
        finally:
            timer.cancel()


def _explain(error: Exception, limits: Limits, *, late: bool) -> LocoError | KeyboardInterrupt:
    import duckdb

    if late:
        return slow(limits)
    if isinstance(error, duckdb.InterruptException) or str(error) == "Query interrupted":
        return KeyboardInterrupt()
    if isinstance(error, duckdb.OutOfMemoryException):
        return RegistryError(
            f"sql: the question needs more memory than {limits.memory}; ask for less, or give --max-memory"
        )
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        return RegistryError(f"sql: the database gave up: {_first(error)}; ask otherwise")
    hint = ""
    if "file system operations are disabled" in str(error):
        hint = "; no file is read or written here, `--out FILE` writes what was found"
    elif "read-only" in str(error):
        hint = "; nothing can be changed here"
    elif isinstance(error, duckdb.PermissionException) or "configuration has been locked" in str(error):
        hint = "; nothing can be loaded or set here"
    return InputError(f"sql: {_first(error)}{hint}")


def _first(error: Exception) -> str:
    """The database's message, without the picture of the place that it may draw."""
    return " ".join(str(error).partition("\nLINE ")[0].split())[:500]
