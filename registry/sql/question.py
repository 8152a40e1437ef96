"""Questions in SQL, to be trusted with nothing: they read the catalogue, and touch nothing else.

The embedded catalogue is asked through a copy, by an instance that reaches no other file and cannot be told otherwise
(`registry.sql.embedded`). A server is asked in transactions that may only read (`registry.sql.server`).
"""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from loco.errors import InputError, RegistryError
from registry.home import Home
from registry.index.session import Catalogue

if TYPE_CHECKING:
    import pyarrow

LONGEST = 1_000_000
"""Characters that a question may have."""

BATCH = 2_000
"""Rows that are read at a time."""

_MEMORY = re.compile(r"\d{1,6}(\.\d{1,3})?\s*[KMGT]i?B", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What one question may take: seconds, and memory such as `2GB` (of the embedded catalogue)."""

    seconds: float = 600.0
    memory: str = "2GB"


class Source(Protocol):
    """Where an answer's rows come from."""

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, as Python has their values."""

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        """The same as Arrow: one batch at least, so that the columns are known."""


@dataclass(frozen=True)
class Answer:
    """What one question gives: the columns' names, and rows that are read as they are asked for, once."""

    names: Sequence[str]
    source: Source

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, as Python has their values."""
        return self.source.rows()

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows by column, as JSON can have them."""
        names = unlike(self.names)
        for row in self.source.rows():
            yield {name: json_value(value) for name, value in zip(names, row, strict=True)}


class Reader(Protocol):
    """Someone to ask, one question at a time."""

    def ask(self, question: str) -> Iterator[Answer]:
        """An answer for each statement of the question, to be read before the next.

        Raises `InputError` for what cannot be asked, `RegistryError` for what takes too long or too much.
        """

    def close(self) -> None:
        """Let go of the catalogue."""


@contextlib.contextmanager
def reader(catalogue: Catalogue, home: Home, limits: Limits) -> Iterator[Reader]:
    """Someone who knows the embedded catalogue as it is now, or a server; raises what reading it raises."""
    if not _MEMORY.fullmatch(limits.memory):
        raise InputError(f"memory: expected an amount such as 500MB or 2GB, found {limits.memory[:80]!r}")
    made: Reader
    if catalogue.file is None:
        from registry.sql.server import Server

        made = Server(catalogue, limits)
    else:
        from registry.sql.embedded import Embedded, sealed

        made = Embedded(sealed(catalogue, home, limits), limits)
    try:
        yield made
    finally:
        made.close()


def checked(question: str) -> str:
    """`question` if it can be one; raises `InputError`."""
    if len(question) > LONGEST:
        raise InputError(f"sql: expected up to {LONGEST} characters, found {len(question)}")
    if "\0" in question:
        raise InputError("sql: expected text, found a NUL character in it")
    if not question.strip(" \t\r\n;"):
        raise InputError("sql: expected a question, found none")
    return question


def slow(limits: Limits) -> RegistryError:
    """The error for what takes too long."""
    return RegistryError(
        f"sql: the question took longer than {limits.seconds:g} s; ask for less, or give --timeout"
    )


def json_value(value: Any) -> Any:
    """A value of an answer as JSON can have it: what is not finite is null, times and the like are text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    if isinstance(value, Decimal):
        return json_value(float(value))
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [json_value(one) for one in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def unlike(names: Sequence[str]) -> list[str]:
    """The columns' names, numbered where there are several of one: records and files have each once."""
    made: list[str] = []
    for name in names:
        number, new = 1, name
        while new in made:
            number += 1
            new = f"{name}_{number}"
        made.append(new)
    return made
