"""How far a run is, for whoever looks from another process: HOME/runs/<id>/progress.json, and what was said in log.txt.

Both are for people: nothing is decided by them, and a run that cannot write them goes on.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.engine.watch import Watch
from loco.errors import StorageError
from loco.files import write_atomic
from loco.outside import regular_bytes
from registry.files import journal, manifests
from registry.home import Home
from registry.records import RunRecord, now

EVERY = 1.0
"""Seconds between two notes, at least."""

FINISHED = ("done", "skipped", "absent", "failed")
"""Counts of items that there is nothing more to do for."""


def finished(run: RunRecord) -> int:
    """How many of its planned items are finished."""
    return sum(run.counts.get(name, 0) for name in FINISHED)


@dataclass
class Progress:
    """Notes how far a run is, now and then, and when it should end."""

    home: Home
    run_id: str
    first: tuple[float, int] | None = None
    noted: float = float("-inf")

    def note(self, run: RunRecord) -> float | None:
        """Note the run's counts; the seconds that are left, as far as that can be told."""
        moment, count = time.monotonic(), finished(run)
        if self.first is None:
            self.first = moment, count
        begun, before = self.first
        rate = (count - before) / (moment - begun) if moment > begun else 0.0
        left = (run.counts["planned"] - count) / rate if rate > 0 else None
        if moment - self.noted >= EVERY:
            self.noted = moment
            told = {"counts": run.counts, "left": left, "at": time.time()}
            with contextlib.suppress(StorageError):
                write_atomic(
                    _beside(self.home, run.id, "progress.json"), json.dumps(told).encode(), settle=False
                )
        return left

    def end(self) -> None:
        """The run is over: its record says more."""
        with contextlib.suppress(OSError):
            _beside(self.home, self.run_id, "progress.json").unlink(missing_ok=True)


def live(home: Home, run: RunRecord) -> tuple[RunRecord, float | None]:
    """A run with the counts that it had last, and the seconds that it still takes, as far as its process told."""
    if run.status != "running":
        return run, None
    told: Any = None
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(regular_bytes(_beside(home, run.id, "progress.json")))
    if not isinstance(told, dict) or not isinstance(told.get("counts"), dict):
        return run, None
    counts = {str(name): count for name, count in told["counts"].items() if isinstance(count, int)}
    left, at = told.get("left"), told.get("at")
    run = replace(run, counts=run.counts | counts)
    if not isinstance(left, int | float) or not isinstance(at, int | float):
        return run, None
    return run, max(0.0, left - (time.time() - at))


class Logged:
    """A `Watch` that also keeps what is said, with the time."""

    def __init__(self, watch: Watch, home: Home, run_id: str) -> None:
        self._watch, self._path = watch, _beside(home, run_id, "log.txt")

    def total(self, items: int) -> None:
        """Pass it on."""
        self._watch.total(items)

    def advance(self, items: int = 1) -> None:
        """Pass it on."""
        self._watch.advance(items)

    def say(self, text: str) -> None:
        """Pass it on, and keep it."""
        self._watch.say(text)
        self.keep(text)

    def keep(self, text: str) -> None:
        """Keep it, and tell nobody."""
        lines = "".join(f"{now()[:19]}  {line}\n" for line in text.splitlines())
        with contextlib.suppress(StorageError):
            journal.append(self._path, lines.encode(errors="backslashreplace"), settle=False)


def said(home: Home, run_id: str, start: int = 0) -> Iterator[str]:
    """What a run said, line by line with the time (UTC), leaving out the first `start`."""
    with contextlib.suppress(FileNotFoundError):
        for number, (_, line) in enumerate(journal.whole(_beside(home, run_id, "log.txt"))):
            if number >= start and line is not None:
                yield line.decode(errors="replace").rstrip("\n")


def _beside(home: Home, run_id: str, name: str) -> Path:
    return manifests.manifest_path(home, run_id).with_name(name)
