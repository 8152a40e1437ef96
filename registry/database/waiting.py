"""Waiting for others: how long, and saying for whom.

DuckDB lets one program write a file, or several read it, and refuses all others at once. Programs that are not ours
know nothing of the lock that ours wait at, so an open that was refused is tried again until the time is up. Who waits
says so by a warning of the logger `registry`, which reaches standard error wherever nobody set up logging.
"""

import contextlib
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from loco.errors import InputError, RegistryBusy, RegistryError
from loco.urls import masked

_Result = TypeVar("_Result")

VARIABLE = "LOCO_WAIT"
"""The environment variable that says how long to wait for the catalogue, in seconds."""

DEFAULT = 600.0
"""Seconds to wait where nothing else is said."""

LONGEST = 7 * 86400.0
"""Seconds that may be asked for."""

TELL_AFTER = 2.0
"""Seconds after which who waits says for whom."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5

_log = logging.getLogger("registry")


class Taken(RegistryBusy):
    """An open that another program's lock refused: nothing was done, and it can be tried again."""


class Passing(RegistryError):
    """A trouble of a server that passes: all was rolled back, and the same can be tried again."""


PASSING = 30.0
"""Seconds for which what passes is tried again, where as many may be waited."""


def patience(seconds: float | None = None) -> float:
    """How long to wait: `seconds`, or what the environment says, or the default.

    Raises `InputError` for what is no time between 0 and a week.
    """
    given: str | float | None = os.environ.get(VARIABLE) or None if seconds is None else seconds
    try:
        value = DEFAULT if given is None else float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LONGEST:
        raise InputError(f"{VARIABLE}: expected seconds from 0 to {LONGEST:g}, found {str(given)[:80]!r}")
    return value


def until_free(work: Callable[[float], _Result], name: str, seconds: float) -> _Result:
    """What `work` gives, tried again while it raises `Taken` or `Passing`; it is given the seconds that are left.

    Between two tries nothing is held, so that our own readers go on beside another program that reads. Raises
    `RegistryBusy` naming the holder when the time is up.
    """
    begun = time.monotonic()
    pause, told = _FIRST_PAUSE, False
    while True:
        waited = time.monotonic() - begun
        try:
            return work(max(0.0, seconds - waited))
        except Passing as error:
            waited = time.monotonic() - begun
            if waited >= min(seconds, PASSING):
                raise RegistryError(str(error)) from error
            if not told and waited >= TELL_AFTER:
                told = True
                _log.warning("trying again for %g s: %s", min(seconds, PASSING), error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        except Taken as error:
            holder, waited = str(error), time.monotonic() - begun
        if waited >= seconds:
            raise RegistryBusy(
                f"the catalogue {name} is open in {holder} (waited {seconds:g} s); close it there, or wait longer "
                f"with --wait or {VARIABLE}; `loco sql` and `loco registry snapshot` read without being in the way"
            )
        if not told and waited >= TELL_AFTER:
            told = True
            _log.warning("waiting up to %g s for the catalogue %s: it is open in %s", seconds, name, holder)
        time.sleep(min(pause, max(0.001, seconds - waited)))
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextlib.contextmanager
def telling(name: str, holder: Callable[[], str], seconds: float) -> Iterator[None]:
    """Within it, say for whom we wait if it takes longer than `TELL_AFTER` seconds."""

    def tell() -> None:
        _log.warning("waiting up to %g s for the catalogue %s: it is held by %s", seconds, name, holder())

    timer = threading.Timer(TELL_AFTER, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def refused(cause: str) -> str | None:
    """Who has the file, in words, if this is DuckDB's message about another program's lock; else None."""
    if "lock on file" not in cause and "onflicting lock" not in cause:
        return None
    found = re.search(r"\(PID (\d+)\)", cause)
    return "another program" if found is None else process(int(found[1]))


def process(pid: int) -> str:
    """A process in words: number, command, since when it runs; what cannot be known is left out."""
    import psutil

    try:
        one = psutil.Process(pid)
        command, since = " ".join(one.cmdline()) or one.name(), one.create_time()
    except (psutil.Error, OSError):  # gone, someone else's, or of another container
        return f"process {pid}"
    began = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"process {pid} ({_line(command)}), which runs since {began} UTC"


def _line(text: str) -> str:
    """What another program calls itself, without anything that would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in masked(text))[:200] or "?"
