"""The thin Prefect decorators over `run_discover` and `run_apply`: names, retries, times, tags; no work of their own.

Without them the functions are still the program. Import this only after `server.use_server`, because Prefect
reads its settings when it is imported.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TagsContext
from prefect.runtime import flow_run as running_flow
from prefect.states import Cancelled, Completed, Failed

from flows.apply.edits import ApplyChunk, Work
from flows.apply.job import run_apply
from flows.apply.stream import apply_chunk
from flows.discover.job import DiscoverChunk, ImageOutcome, discover_chunk, run_discover
from flows.engine.record import catalogue, mark_interrupted, run_of
from flows.engine.retries import BACK_OFF, RETRIES, is_retried
from flows.jobs import ApplyJob, DiscoverJob, ScoreJob, discover_job
from flows.orchestration.credentials import public, whole
from flows.orchestration.following import awaited, finished, watch, watched
from flows.orchestration.overlap import only_run
from flows.orchestration.report import PrefectReport, tell_dead
from flows.orchestration.runners import executor_of
from flows.score.job import ScoreChunk, ScoreOutcome, run_score, score_chunk
from loco.errors import LocoError, RegistryError
from registry.home import Home
from registry.records import RunRecord

__all__ = ["apply_on_server", "discover_flow", "discover_on_server", "plain", "score_on_server", "watched"]


class _Bugs(logging.Filter):
    """Passes what is said of bugs only: of an error that users can do something about the command says one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, LocoError) and "Finished in state" not in record.getMessage()


for _handler in logging.getLogger().handlers:  # Prefect's console; its server keeps everything
    _handler.addFilter(_Bugs())


def _is_transient(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again can help: not for what the error tree calls wrong input or a broken disk."""
    return is_retried(state.result(raise_on_failure=False))


@task(
    name="discover-chunk",
    task_run_name="{chunk.images[0].name} and on",
    retries=RETRIES,
    retry_delay_seconds=list(BACK_OFF),
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def discover_chunk_task(chunk: DiscoverChunk) -> list[ImageOutcome]:
    """One chunk of images, as a task."""
    return discover_chunk(chunk)


@task(
    name="apply-chunk",
    task_run_name="{chunk.sources[0].name} and on",
    retries=RETRIES,
    retry_delay_seconds=list(BACK_OFF),
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def apply_chunk_task(chunk: ApplyChunk) -> Work:
    """One chunk of images, as a task."""
    return apply_chunk(chunk)


def _name() -> str:
    """What people recognise a run of discovery by."""
    job: Mapping[str, Any] = running_flow.parameters["job"]
    regions = ", ".join(roi.partition("=")[0] for roi in job["rois"])
    return f"{job['dataset']} x {job['model']}: {regions}"


@flow(name="discover", flow_run_name=_name, validate_parameters=False, persist_result=False)
def discover_flow(
    home: str,
    registry: str | None,
    job: dict[str, Any],
    run_id: str | None = None,
    schedule: str | None = None,
    overlap: str = "queue",
) -> State[Any]:
    """Discovery over a dataset, as a flow; its parameters are plain data, so that it can be deployed.

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
        tell_dead(mark_interrupted(catalogue(place, registry)))
        asked = discover_job(job)
        report = PrefectReport(place, flow_run.id if flow_run else None, schedule)
        with untagged(), executor_of(asked.runner, discover_chunk_task) as executor:
            run = run_discover(place, registry, asked, watch(), executor, report, own_id)
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


def discover_on_server(home: Home, url: str | None, job: DiscoverJob, run_id: str | None = None) -> RunRecord:
    """Run the flow in this process; returns the run's record, raises what stopped it."""
    labels = [
        f"dataset:{job.dataset}",
        f"model:{job.model}",
        *(f"roi:{roi.partition('=')[0]}" for roi in job.rois),
    ]
    with tags(*labels), awaited() as ended:
        state = cast(
            "State[Any]",
            discover_flow(str(home.root), public(url), public(plain(job)), run_id, return_state=True),
        )
    if not ended:
        state.result()
        raise RegistryError(
            f"the run ended in state {state.name}: {state.message}; run the same command again"
        )
    return ended[-1]


def plain(job: DiscoverJob) -> dict[str, Any]:
    """The job as a flow's parameter: plain data that `discover_job` reads back."""
    return asdict(job) | {"rois": list(job.rois)}


@task(
    name="score-chunk",
    task_run_name="{chunk.images[0].name} and on",
    retries=RETRIES,
    retry_delay_seconds=list(BACK_OFF),
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def score_chunk_task(chunk: ScoreChunk) -> list[ScoreOutcome]:
    """One chunk of images, as a task."""
    return score_chunk(chunk)


@flow(name="score", flow_run_name="score on {job[dataset]}", validate_parameters=False, persist_result=False)
def score_flow(home: str, registry: str | None, job: dict[str, Any]) -> RunRecord:
    """Transfer scores over a dataset, as a flow."""
    with untagged():
        return run_score(Home(Path(home)), whole(registry), ScoreJob(**whole(job)), watch(), score_chunk_task)


def score_on_server(home: Home, url: str | None, job: ScoreJob) -> RunRecord:
    """Run the flow in this process; returns the run's record, raises what stopped it."""
    with tags(f"dataset:{job.dataset}"):
        return score_flow(str(home.root), public(url), public(dict(vars(job))))


@flow(name="apply", flow_run_name="to {job[out]}", validate_parameters=False, persist_result=False)
def apply_flow(home: str, registry: str | None, job: dict[str, Any]) -> RunRecord:
    """Bulk application, as a flow."""
    return run_apply(Home(Path(home)), whole(registry), ApplyJob(**whole(job)), watch(), apply_chunk_task)


def apply_on_server(home: Home, url: str | None, job: ApplyJob) -> RunRecord:
    """Run the flow in this process; returns the run's record, raises what stopped it."""
    return apply_flow(str(home.root), public(url), public(dict(vars(job))))
