"""`loco worker`: runs what is due, keeps the server up, goes on with scheduled runs that were cut short."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import httpx

from flows.engine.beside import again_and_again
from flows.engine.record import catalogue, mark_interrupted
from flows.orchestration.prefect_states import states_of
from flows.schedules.schedule import POOL, listed, publish, run_now
from flows.server.alone import search_path
from flows.server.server import keep_server, use_server
from loco.errors import LocoError, ServerError
from registry.database.credentials import whole
from registry.home import Home

ATTEMPTS = 5
"""How often a run that is cut short again and again is taken up."""

EVERY = 15.0
"""Seconds between two looks for runs that were cut short."""


def work(home: Home, url: str | None, limit: int, say: Callable[[str], None]) -> None:
    """Serve the home's work pool until interrupted, at most `limit` runs at a time."""
    server = use_server(home)
    os.environ["PYTHONPATH"] = search_path()  # flow runs start in a process and a folder of their own
    if url is not None:
        os.environ["LOCO_REGISTRY"] = whole(home.root, url)  # with its password, which no schedule holds
    from flows.orchestration.quiet import quieten
    from flows.schedules.home_worker import HomeWorker

    quieten()
    signal.signal(signal.SIGTERM, _interrupt)
    with keep_server(home), _reviving(home, url, say):
        publish_all(home, say)
        say(f"serving work pool {POOL!r} of {server}; Ctrl-C ends it")
        while True:
            try:
                worker = HomeWorker(work_pool_name=POOL, limit=limit)
                worker.home, worker.say = home, say
                asyncio.run(worker.start(printer=_nothing))
            except (httpx.HTTPError, RuntimeError, ExceptionGroup) as error:
                say(f"the worker lost its server ({type(error).__name__}); it goes on in a moment")
                time.sleep(2.0)
                use_server(home)


def publish_all(home: Home, say: Callable[[str], None]) -> None:
    """Make the deployments of all schedules; one that cannot be is named and keeps no other from running."""
    schedules, unread = listed(home)
    for error in unread:
        say(f"left out: {error}")
    for schedule in schedules:
        try:
            publish(home, schedule)
        except ServerError:
            raise
        except LocoError as error:
            say(f"left out: schedule {schedule.name}: {error}")


def _nothing(_: str) -> None:
    """What Prefect's worker says of itself: `HomeWorker` says what matters."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _reviving(home: Home, url: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Within it, scheduled runs that were cut short are taken up again."""
    seen: set[tuple[str, int]] = set()

    def look() -> None:
        try:
            for run_id in revive(home, url, seen):
                say(f"run {run_id[:12]} was cut short; it goes on")
        except (LocoError, httpx.HTTPError, OSError) as error:
            say(f"cannot look for runs that were cut short now: {error}")

    with again_and_again("reviver", EVERY, look, at_once=True):
        yield


def revive(home: Home, url: str | None, seen: set[tuple[str, int]]) -> list[str]:
    """Let a worker go on with each schedule's latest run, where it was cut short; returns the runs' ids.

    `seen` remembers which attempts of which runs were cared for.
    """
    from flows.orchestration.report import tell_dead

    registry = catalogue(home, url)
    tell_dead(mark_interrupted(registry))
    latest = {}
    for run in reversed(registry.runs()):
        if run.provenance.get("schedule"):
            latest[run.provenance["schedule"]] = run
    names = {schedule.name for schedule in listed(home)[0]}
    states = states_of(home, list(latest.values()))
    taken = []
    for name, run in latest.items():
        attempt = int(run.provenance.get("attempt", 1))
        if (
            run.status != "interrupted"
            or name not in names
            or attempt >= ATTEMPTS
            or (run.id, attempt) in seen
        ):
            continue
        if states.get(run.id) in ("Cancelled", "Cancelling"):  # on Prefect's page, which ends the process
            continue
        seen.add((run.id, attempt))
        run_now(home, name, run.id)
        taken.append(run.id)
    return taken
