"""What the command line calls: run a job on the home's Prefect server, or go on with one of before.

Prefect and torch are paid for only where there is something to compute: a job of which everything is known already is
looked through in this process, without a server.
"""

from collections.abc import Callable
from typing import Any

from flows.engine.estimate import Estimate
from flows.engine.executors import Executor
from flows.engine.record import catalogue, status_of
from flows.engine.run import run_job
from flows.engine.watch import Silence, Watch
from flows.jobs import Asked, asked
from flows.kinds import job_of
from loco.errors import InputError
from registry.home import Home
from registry.records import RunRecord


def run(
    home: Home, url: str | None, job: Asked, watch: Watch | None = None, run_id: str | None = None
) -> RunRecord:
    """Run a job on the home's Prefect server, which is started when it is not up and kept up.

    With the id of a run of before, that run goes on. Returns the finished run's record; raises `LocoError` for what
    stops the whole run.
    """
    watch = watch or Silence()
    checked = job_of(home, url, job)
    checked.check()  # before a server is started for it
    if checked.known():
        return run_here(home, url, job, watch, run_id=run_id)
    from flows.server.client import explained
    from flows.server.server import keep_server, use_server

    use_server(home)
    with keep_server(home), explained():
        from flows.orchestration.decorators import run_on_server, watched

        with watched(watch):
            return run_on_server(home, url, job, run_id)


def run_here(
    home: Home,
    url: str | None,
    job: Asked,
    watch: Watch | None = None,
    work: Executor[Any, Any] | Callable[[Any], Any] | None = None,
    run_id: str | None = None,
) -> RunRecord:
    """Run a job in this process, without Prefect; with `work` in place of its chunks' own function."""
    planned = job_of(home, url, job)
    return run_job(planned, work or planned.work, watch or Silence(), None, run_id)


def estimate(home: Home, url: str | None, job: Asked) -> Estimate:
    """How much a job is and how long it takes: no server is started, no network opened, nothing written.

    Raises `LocoError` for what the job itself would refuse.
    """
    planned = job_of(home, url, job)
    planned.check()
    return planned.estimate()


def resumable(home: Home, url: str | None, run_id: str) -> tuple[Asked, str]:
    """The job of the run whose id begins so, and the whole id; raises `InputError` for one that works now."""
    known = catalogue(home, url).run(run_id)
    if status_of(known) == "running":
        raise InputError(
            f"run {known.id[:12]} works already; `loco jobs show {known.id[:12]}` tells how far it is"
        )
    return asked(known.kind, known.spec), known.id
