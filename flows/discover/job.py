"""Discovery over a dataset: plan lazily, hand out chunks, catalogue what was found.

`discover_chunk` writes one basis file an image as soon as it is computed and touches no row; `run_discover` is the only
writer of rows. What exists already is not computed again, whether or not the catalogue heard of it: a killed run
leaves basis files, and the same command finds and indexes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from flows.discover.chunk import DiscoverChunk, ImageOutcome, discover_chunk
from flows.engine.executors import Executor, Local, Queue, worked
from flows.engine.options import allowed_failures
from flows.engine.plan import SECONDS, Sizer, chunks
from flows.engine.record import (
    abandon,
    again,
    ask_to_stop,
    asked_to_stop,
    begin,
    catalogue,
    counted,
    cut_short,
    ended,
    mark_interrupted,
    new_run,
    stop_file,
)
from flows.engine.watch import Silence, Watch
from flows.jobs import DiscoverJob
from loco.errors import LocoError, RegistryBusy, UnknownName
from loco.files import sweep
from loco.rois.layouts import RoiSpec
from registry.files import manifests
from registry.home import Home
from registry.records import DatasetRecord, ImageRecord, ModelRecord, RunRecord
from registry.registry import Registry

__all__ = ["DiscoverChunk", "ImageOutcome", "check_discover", "discover", "discover_chunk", "run_discover"]

IN_A_ROW = 4
"""Images that may be lost alone, one after the other with nothing done between, before the run gives up."""


class Report(Protocol):
    """Somebody who is told of a run as it goes, besides the `Watch` of the command line."""

    def provenance(self) -> dict[str, Any]:
        """What is to be recorded with the run."""

    def began(self, run: RunRecord, dataset: DatasetRecord) -> None:
        """The run is recorded and about to work."""

    def went_on(self, run: RunRecord, outcomes: list[ImageOutcome]) -> None:
        """A chunk came back and its rows are written."""

    def ended(self, run: RunRecord) -> None:
        """The run is over and recorded."""


class Unreported:
    """A `Report` to nobody."""

    def provenance(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def began(self, run: RunRecord, dataset: DatasetRecord) -> None:
        """Ignore it."""

    def went_on(self, run: RunRecord, outcomes: list[ImageOutcome]) -> None:
        """Ignore it."""

    def ended(self, run: RunRecord) -> None:
        """Ignore it."""


def discover(
    home: Home, url: str | None, job: DiscoverJob, watch: Watch | None = None, run_id: str | None = None
) -> RunRecord:
    """Run the `discover` flow on the home's Prefect server, which is started when it is not up.

    With the id of a run of before, that run goes on. Returns the finished run's record; raises `LocoError` for what
    stops the whole run.
    """
    check_discover(catalogue(home, url), job)  # before a server is started for it
    from flows.orchestration.server import keep_server, use_server

    use_server(home)
    from flows.orchestration.decorators import discover_on_server, watched

    with watched(watch or Silence()), keep_server(home):
        return discover_on_server(home, url, job, run_id)


def check_discover(registry: Registry, job: DiscoverJob) -> None:
    """Refuse a job whose model, dataset or ROIs do not exist; raises `UnknownName`."""
    registry.model(job.model)
    dataset = registry.dataset(job.dataset, pictured=False)
    allowed_failures(job.max_failures, 0)
    for text in job.rois:
        spec = RoiSpec.parse(text)
        if spec.from_masks and spec.name not in dataset.rois:
            known = ", ".join(dataset.rois) or "none"
            raise UnknownName(
                f"dataset {job.dataset!r} has no ROI {spec.name!r}; it has: {known}; "
                f"or give a box: {spec.name}=box:x0,y0,x1,y1"
            )


def run_discover(
    home: Home,
    url: str | None,
    job: DiscoverJob,
    watch: Watch,
    executor: Executor[DiscoverChunk, list[ImageOutcome]] | Callable[[DiscoverChunk], list[ImageOutcome]],
    report: Report | None = None,
    run_id: str | None = None,
) -> RunRecord:
    """Plan the job, hand its chunks to the executor (or a plain function), write rows as results come in.

    With `run_id` the run of that id goes on, or is begun under it. A chunk that is lost, because its process died or
    took too long, is halved until the image that does it is found and reported.
    """
    if callable(executor):
        executor = Local(executor)
    report = report or Unreported()
    registry = catalogue(home, url)
    check_discover(registry, job)
    mark_interrupted(registry)
    if job.rescan:
        _rescan(registry, job.dataset, watch)
    model, dataset = registry.model(job.model), registry.dataset(job.dataset, pictured=False)
    planned = registry.image_counts().get(dataset.name, 0)
    planned = planned if job.limit is None else min(planned, job.limit)
    spec = asdict(job) | {"model_id": model.id, "dataset_id": dataset.id}
    run = _begun(registry, spec, planned, run_id)
    run = replace(run, provenance=run.provenance | report.provenance())
    begin(registry, run)
    watch.total(planned)
    report.began(run, dataset)
    sizer = Sizer(executor.width)
    plan = _Plan(home, url, job, model, dataset, run.id, planned, sizer)
    try:
        run = _work(registry, run, plan, executor, watch, report)
        sweep(home.bases)
    except BaseException:
        abandon(registry, run)
        raise
    if 0 < planned == run.counts["absent"]:
        watch.say(f"note: none of the {planned} images has any of these regions: look at their masks")
    told = asked_to_stop(home, run.id)
    run = cut_short(run, *told) if told else ended(run)
    registry.finish_run(run)
    if told:
        stop_file(home, run.id).unlink(missing_ok=True)
        watch.say(told[1])
    report.ended(run)
    return run


def _rescan(registry: Registry, name: str, watch: Watch) -> None:
    """Register what is new in the dataset's folder."""
    from flows.register import refreshed

    before = registry.dataset(name)
    after = refreshed(before)
    if after is not None:
        registry.add_dataset(after)
        watch.say(f"dataset {name!r} has {len(after.images)} images now, {len(before.images)} before")


def _begun(registry: Registry, spec: dict[str, Any], planned: int, run_id: str | None) -> RunRecord:
    """A new run, or the one of that id going on."""
    known = [one for one in registry.runs() if one.id == run_id] if run_id else []
    if not known:
        return new_run("discover", spec, planned, run_id)
    path = registry.home.root / known[0].manifest
    stop_file(registry.home, known[0].id).unlink(missing_ok=True)
    return again(known[0], planned, manifests.stream(path))


class _Plan:
    """The chunks of a run, drawn from the dataset as they are asked for."""

    def __init__(
        self,
        home: Home,
        url: str | None,
        job: DiscoverJob,
        model: ModelRecord,
        dataset: DatasetRecord,
        run_id: str,
        planned: int,
        sizer: Sizer,
    ) -> None:
        self.home, self.url, self.job, self.model, self.dataset = home, url, job, model, dataset
        self.planned, self.sizer = planned, sizer
        self.stop = stop_file(home, run_id)
        self.allowed = allowed_failures(job.max_failures, planned)

    def chunk(self, images: tuple[ImageRecord, ...]) -> DiscoverChunk:
        """These images with all that is needed to work on them."""
        rate = self.sizer.rate
        each = self.job.timeout if rate is None else min(self.job.timeout, 4 * rate)
        return DiscoverChunk(
            self.home.root,
            self.url,
            self.model,
            Path(self.dataset.path),
            Path(self.dataset.masks) if self.dataset.masks else None,
            self.job.rois,
            self.job.recipe,
            images,
            self.stop,
            self.allowed,
            # One image may hang for its whole time; the others take about what is usual.
            self.job.timeout + each * (len(images) - 1) + SECONDS,
            self.job.max_memory,
        )

    def __iter__(self) -> Iterator[DiscoverChunk]:
        """All of them, in order; none more once the run is told to stop."""
        for images in chunks(Registry(self.home, self.url), self.dataset, self.planned, self.sizer):
            if self.stop.exists():
                return
            yield self.chunk(images)


def _work(
    registry: Registry,
    run: RunRecord,
    plan: _Plan,
    executor: Executor[DiscoverChunk, list[ImageOutcome]],
    watch: Watch,
    report: Report,
) -> RunRecord:
    """Hand out the chunks, write rows and lines as they come back; returns the run with its counts."""
    home = registry.home
    queue = Queue(plan)
    lost_in_a_row = 0
    suspects: set[str] = set()
    for chunk, future in worked(executor, queue):
        try:
            outcomes = future.result()
        except (OSError, RuntimeError, MemoryError, RegistryBusy) as error:
            if (isinstance(error, LocoError) and not isinstance(error, RegistryBusy)) or not _is_transient(
                error
            ):
                raise
            if _another_try(chunk, plan, executor, queue, suspects, _brief(error), watch):
                continue
            name = chunk.images[0].name
            lost_in_a_row += 1
            if lost_in_a_row >= min(IN_A_ROW, plan.planned):
                raise
            outcomes = [ImageOutcome(name, "failed", failures=(("", _brief(error)),))]
        else:
            lost_in_a_row = 0
        run = _recorded(registry, run, outcomes, watch)
        computed = [one for one in outcomes if one.evaluations]
        plan.sizer.learn(len(outcomes), len(computed), sum(one.seconds for one in computed))
        report.went_on(run, outcomes)
        failed = run.counts["failed"]
        if plan.allowed is not None and failed > plan.allowed:
            reason = (
                f"stopped: {failed} of {plan.planned} images failed, more than --max-failures "
                f"{plan.job.max_failures} allows ({plan.allowed})"
            )
            ask_to_stop(home, run.id, "stopped", reason)
    return run


def _another_try(
    chunk: DiscoverChunk,
    plan: _Plan,
    executor: Executor[DiscoverChunk, list[ImageOutcome]],
    queue: Queue[DiscoverChunk],
    suspects: set[str],
    why: str,
    watch: Watch,
) -> bool:
    """Whether a lost chunk is put back: in halves, or, a single image that was not alone, as a suspect."""
    name = chunk.images[0].name
    if len(chunk.images) > 1:
        watch.say(f"lost {len(chunk.images)} images from {name} on ({why}): halving")
        half = len(chunk.images) // 2
        queue.put_back(plan.chunk(chunk.images[:half]), plan.chunk(chunk.images[half:]))
        return True
    if executor.width == 1 or name in suspects:
        return False
    watch.say(f"lost {name} ({why}): once more, with none beside it")
    suspects.add(name)
    queue.suspect(chunk)
    return True


def _recorded(registry: Registry, run: RunRecord, outcomes: list[ImageOutcome], watch: Watch) -> RunRecord:
    """The rows, lines and counts of a chunk that came back."""
    registry.index(*dict.fromkeys(one.basis_id for one in outcomes if one.basis_id))
    manifests.append(registry.home, run.id, [_line(outcome) for outcome in outcomes])
    for outcome in outcomes:
        computed = outcome.evaluations > 0
        run = counted(
            run,
            **{outcome.status: 1},
            directions=outcome.directions if computed else 0,
            refused=outcome.refused,
            evaluations=outcome.evaluations,
        )
        if outcome.halved:
            run = counted(run, halved=outcome.halved)
            watch.say(f"note: {outcome.image}: out of memory, halved {outcome.halved} times; the run goes on")
        for roi, cause in outcome.failures:
            watch.say(f"failed: {outcome.image}{f' ({roi})' if roi else ''}: {cause}")
        for _, reason in outcome.absent:
            watch.say(f"absent: {outcome.image}: {reason}")
        for note in outcome.notes:
            watch.say(f"note: {outcome.image}: {note}")
    watch.advance(len(outcomes))
    return run


def _is_transient(error: BaseException) -> bool:
    from flows.engine.retries import is_transient

    return is_transient(error)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def _line(outcome: ImageOutcome) -> dict[str, object]:
    kind = "failure" if outcome.failures else "absent" if outcome.status == "absent" else "basis"
    return {"kind": kind} | asdict(outcome)
