"""What every command works with: the home, the catalogue, and the two ways of showing results."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import click

from flows.engine.watch import Watch
from loco.urls import masked
from registry.home import Home

if TYPE_CHECKING:
    from registry.registry import Registry

PARTIAL = 3
"""Exit code of a command that did its work, but not on every item."""

_Record = TypeVar("_Record")

_PIPE_WIDTH = 1000
"""Columns of a table that goes to a file or a pipe: nothing is folded there."""


@dataclass(frozen=True)
class Column(Generic[_Record]):
    """One column of a table: its title and what it says of a record."""

    title: str
    value: Callable[[_Record], object]
    right: bool = False
    whole: bool = False
    """Never folded, so that it can be copied."""


@dataclass(frozen=True)
class App:
    """One invocation of `loco`.

    Attributes:
        home: The home folder.
        url: SQLAlchemy URL of the catalogue, address of one that is served, or None for the home's own.
        json: Whether results are JSON lines for programs instead of text for people.
    """

    home: Home
    url: str | None
    json: bool

    def registry(self) -> "Registry":
        """The catalogue; nothing is opened before it is asked something. A served one looks and names only."""
        from cli.remote import Remote, is_served
        from registry.registry import Registry

        if self.url is not None and is_served(self.url):
            return cast("Registry", Remote(self.url))
        return Registry(self.home, self.url)

    def show(self, record: Any, facts: Mapping[str, object]) -> None:
        """A result on standard output: `record` as one JSON line for programs, `facts` for people."""
        if self.json:
            click.echo(masked(json.dumps(_plain(record), default=str)))
            return
        width = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            click.echo(f"{name:<{width}}  {cell(value)}")

    def table(self, records: Iterable[_Record], columns: Iterable[Column[_Record]]) -> None:
        """Results on standard output: one JSON line each for programs, a table for people."""
        if self.json:
            for record in records:
                click.echo(masked(json.dumps(_plain(record), default=str)))
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        columns = tuple(columns)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            justify: Any = "right" if column.right else "left"
            table.add_column(column.title, justify=justify, overflow="fold", no_wrap=column.whole)
        for record in records:
            table.add_row(*(Text(cell(column.value(record))) for column in columns))
        if not table.rows:
            return
        console = Console()
        if not console.is_terminal:
            console.width = _PIPE_WIDTH
        console.print(table)

    def say(self, text: str) -> None:
        """A line for people, on standard error."""
        click.echo(printable(text), err=True)

    def watch(self, doing: str) -> AbstractContextManager[Watch]:
        """Follow long work on standard error: a bar on a terminal, lines elsewhere."""
        from cli.watch import watching

        return watching(doing)


def printable(text: str) -> str:
    """`text` without anything that would steer a terminal, such as in a hostile file name, and without credentials."""
    text = masked(text)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def cell(value: object) -> str:
    """A value as people are shown it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    return printable(str(value))


def _plain(record: Any) -> Any:
    return asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
