"""Questions to a server: each in a transaction of its own that may only read, and ends with it."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from loco.errors import InputError, LocoError, RegistryError
from registry.database import postgres
from registry.index.session import Catalogue
from registry.sql.question import BATCH, Answer, Limits, checked, slow

if TYPE_CHECKING:
    import pyarrow


class Server:
    """Asks a server: each question in a transaction of its own, that reads only and ends with it."""

    def __init__(self, catalogue: Catalogue, limits: Limits) -> None:
        """Connects; raises what reading the catalogue raises."""
        self._catalogue, self._limits = catalogue, limits
        catalogue.read(lambda _: None, None)  # it is there, of our version, and reached
        self._engine = postgres.engine(catalogue.url, limits.seconds, read_only=True)
        self._open = self._engine.connect()
        driver: Any = self._open.connection.driver_connection
        driver.rollback()
        driver.autocommit = True
        self._connection = driver
        self._cursor: Any = None
        self._whole = False

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(*postgres.errors()):
            self._open.close()

    def ask(self, question: str) -> Iterator[Answer]:
        """See `registry.sql.question.Reader`; a question is one statement here."""
        question = checked(question).rstrip().rstrip(";")
        with self._explained():
            run = self._connection.execute
            run("ROLLBACK")
            run("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            run(f"SET LOCAL statement_timeout = {max(1, round(self._limits.seconds * 1000))}")
            # A cursor is for questions alone, and what is prepared is one statement: nothing ends the transaction.
            self._whole = question.split(None, 1)[0].lower() in ("explain", "show")
            if self._whole:
                self._cursor = run(question, prepare=True)
            else:
                run(f"DECLARE found NO SCROLL CURSOR FOR {question}", prepare=True)
                self._cursor = run(f"FETCH {BATCH} FROM found")
        yield Answer([one.name for one in self._cursor.description or ()], self)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """See `registry.sql.question.Source`."""
        while True:
            with self._explained():
                found = self._cursor.fetchall()
                if found and not self._whole:
                    self._cursor = self._connection.execute(f"FETCH {BATCH} FROM found")
            yield from found
            if self._whole or not found:
                return

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        """See `registry.sql.question.Source`; the types are those of the values that come first."""
        import pyarrow

        names = [one.name for one in self._cursor.description or ()]
        schema = None
        rows = self.rows()
        while True:
            part = [tuple(map(_plain, row)) for row in _take(rows, BATCH)]
            if not part and schema is not None:
                return
            columns = [list(column) for column in zip(*part, strict=True)] or [[] for _ in names]
            try:
                batch = pyarrow.RecordBatch.from_arrays([pyarrow.array(one) for one in columns], names=names)
                batch = batch if schema is None else batch.cast(schema)
            except pyarrow.ArrowException as error:
                raise InputError(
                    f"sql: a column has values of several types: {error}; cast it to one"
                ) from error
            schema = batch.schema
            yield batch

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except postgres.errors() as error:
            raise self._cause(error) from error

    def _cause(self, error: Exception) -> LocoError:
        text = str(error).strip().partition("\n")[0][:500]
        state = getattr(error, "sqlstate", None) or ""
        if state == "57014":
            return slow(self._limits)
        if state == "25006":
            return InputError(f"sql: {text}; nothing can be changed here")
        if state[:2] in ("", "08", "57", "28", "53"):
            return RegistryError(
                f"the catalogue {self._catalogue} did not answer: {text}; run the same command again"
            )
        return InputError(f"sql: {text}")


def _take(rows: Iterator[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    return [row for _, row in zip(range(count), rows, strict=False)]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
