"""Who follows a flow in this process: its `Watch`, and whoever waits for the run's record.

Apart from the flows, because Prefect sends a flow's function with all that it names to other processes, and what this
holds stays here.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from flows.engine.watch import Silence, Watch
from registry.records import RunRecord

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)
_finished: ContextVar[list[RunRecord] | None] = ContextVar("finished", default=None)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Within it, runs started in this thread tell `watch` of their progress."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def watch() -> Watch:
    """Who follows the run that is started now."""
    return _watch.get() or Silence()


@contextlib.contextmanager
def awaited() -> Iterator[list[RunRecord]]:
    """Within it, the records of runs that end in this thread are put into the list."""
    finished: list[RunRecord] = []
    token = _finished.set(finished)
    try:
        yield finished
    finally:
        _finished.reset(token)


def finished(run: RunRecord) -> None:
    """The run ended: tell whoever waits for it."""
    waiting = _finished.get()
    if waiting is not None:
        waiting.append(run)
