"""Following long work on standard error: a bar on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.app import printable
from flows.engine.watch import Watch

_LINES = 10
"""Lines that tell of a run of known length."""

_EVERY = 1000
"""Items between two lines where the length is not known."""

_WORTH = 10.0
"""Seconds that are left from which on that is told."""


def duration(seconds: float) -> str:
    """A time in a word: `40 s`, `3 min`, `2.5 h`, `3.2 d`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} d"


class Bar:
    """A `Watch` that draws a progress bar."""

    def __init__(self, progress: Progress, doing: str) -> None:
        self._progress = progress
        self._task = progress.add_task(doing, total=None)

    def total(self, items: int) -> None:
        """The bar's length, from its beginning: a second run in one command starts a bar of its own."""
        self._progress.reset(self._task, total=items)

    def advance(self, items: int = 1) -> None:
        """Move the bar."""
        self._progress.advance(self._task, items)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(Text(printable(text)))


class Lines:
    """A `Watch` that writes a line at every tenth of the work."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._total: int | None = None
        self._done = 0
        self._begun = time.monotonic()
        self._lock = Lock()

    def total(self, items: int) -> None:
        """The number of items, counted from none."""
        self._total, self._done, self._begun = items, 0, time.monotonic()

    def advance(self, items: int = 1) -> None:
        """Count; a line where another tenth is done."""
        with self._lock:
            before, self._done = self._done, self._done + items
            if not self._total:
                if before // _EVERY != self._done // _EVERY:
                    self.say(f"{self._doing}: {self._done}")
            elif before * _LINES // self._total != self._done * _LINES // self._total:
                self.say(f"{self._doing}: {self._done} of {self._total}{self._left()}")

    def _left(self) -> str:
        """How long the rest takes, where that is worth a word."""
        spent, rest = time.monotonic() - self._begun, (self._total or 0) - self._done
        left = spent / max(1, self._done) * rest
        return f", about {duration(left)} left" if left >= _WORTH else ""

    def say(self, text: str) -> None:
        """A line."""
        click.echo(printable(text), err=True)


@contextmanager
def watching(doing: str) -> Iterator[Watch]:
    """A `Watch` that suits standard error; `doing` says what is going on."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(doing)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, doing)
