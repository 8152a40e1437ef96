"""The thin Prefect decorators over the engine: one task, one flow; names, retries, times, tags, no work of their own.

Without them the engine is still the program. Import this only after `server.use_server`, because Prefect reads its
settings when it is imported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TagsContext
from prefect.runtime import flow_run as running_flow
from prefect.states import Cancelled, Completed, Failed

from flows.engine.job import Chunk
from flows.engine.record import catalogue, fail_unbegun, mark_interrupted, run_of
from flows.engine.retries import BACK_OFF, RETRIES, is_retried
from flows.engine.run import run_job
from flows.jobs import Asked, asked, plain
from flows.kinds import KINDS, job_of
from flows.orchestration.credentials import public, whole
from flows.orchestration.following import awaited, finished, watch, watched
from flows.orchestration.overlap import only_run
from flows.orchestration.quiet import quieten
from flows.orchestration.report import PrefectReport, tell_dead
from flows.orchestration.runners import executor_of
from loco.errors import RegistryError
from registry.home import Home
from registry.records import RunRecord

__all__ = ["job_flow", "run_on_server", "watched", "work_on"]


quieten()


def _is_transient(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again can help: not for what the error tree calls wrong input or a broken disk."""
    return is_retried(state.result(raise_on_failure=False))


@task(
    task_run_name="{chunk.title}",
    retries=RETRIES,
    retry_delay_seconds=list(BACK_OFF),
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def work_on(kind: str, chunk: Chunk) -> Any:
    """One chunk of a job of that kind, as a task."""
    return KINDS[kind].work(chunk)


def _name() -> str:
    """What people recognise a run by."""
    told: Mapping[str, Any] = running_flow.parameters
    return job_of(Home(Path(told["home"])), told["registry"], asked(told["kind"], told["job"])).title()


@flow(flow_run_name=_name, validate_parameters=False, persist_result=False)
def job_flow(
    home: str,
    registry: str | None,
    kind: str,
    job: dict[str, Any],
    run_id: str | None = None,
    schedule: str | None = None,
    overlap: str = "queue",
) -> State[Any]:
    """Any job, as a flow; its parameters are plain data, so that it can be deployed.

    The run's id follows from the flow run's; the run `run_id` goes on. Of one `schedule` only one runs at a time: the
    next one waits for it (`overlap` is `queue`) or ends at once (`skip`).
    """
    place, registry, job = Home(Path(home)), whole(registry), whole(job)
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    own_id = run_id or (run_of(str(flow_run.id)) if flow_run else None)
    with only_run(place, schedule, wait=overlap == "queue") as free:
        if not free:
            return Cancelled(name="Skipped", message=f"the last run of schedule {schedule!r} still works")
        report = PrefectReport(place, flow_run.id if flow_run else None, schedule)
        try:
            tell_dead(mark_interrupted(catalogue(place, registry)))
            told = asked(kind, job)
            with untagged(), executor_of(told.runner, work_on, kind) as executor:
                run = run_job(job_of(place, registry, told), executor, watch(), report, own_id)
        except Exception as error:
            if schedule is not None and own_id is not None:
                fail_unbegun(catalogue(place, registry), kind, job, own_id, report.provenance(), error)
            raise
    finished(run)
    return _state(run)


def untagged() -> TagsContext:
    """Within it, tasks do not take over the flow run's tags.

    Before each task Prefect asks its server for a slot for each of the task's tags, and where that is busy it comes
    again after seconds only.
    """
    return TagsContext(current_tags=set())


def _state(run: RunRecord) -> State[Any]:
    """How a run that ended stands in Prefect."""
    counts = ", ".join(f"{name} {count}" for name, count in run.counts.items())
    match run.status:
        case "done":
            return Completed(message=counts)
        case "partial":
            return Completed(name="CompletedWithFailures", message=counts)
        case "cancelled":
            return Cancelled(message=counts)
        case "stopped":
            return Failed(name="Stopped", message=str(run.provenance.get("stopped", counts)))
    return Failed(message=counts)


def tags_of(home: Home, url: str | None, job: Asked) -> list[str]:
    """What a job's flow runs are found by."""
    labels = job_of(home, url, job).labels()
    return [f"{name}:{value}" for name, values in labels.items() for value in values]


def run_on_server(home: Home, url: str | None, job: Asked, run_id: str | None = None) -> RunRecord:
    """Run the flow in this process; returns the run's record, raises what stopped it."""
    named = job_flow.with_options(name=job.kind)
    with tags(*tags_of(home, url, job)), awaited() as ended:
        state = cast(
            "State[Any]",
            named(str(home.root), public(url), job.kind, public(plain(job)), run_id, return_state=True),
        )
    if not ended:
        state.result()
        raise RegistryError(
            f"the run ended in state {state.name}: {state.message}; run the same command again"
        )
    return ended[-1]
