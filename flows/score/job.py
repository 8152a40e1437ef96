"""Transfer scores: how catalogued directions do on other images of a dataset, each in its own region.

`score_chunk` measures and returns figures; `run_score` writes them to the run's manifest and the catalogue. What was
scored before at the same strength and steps is not scored again.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flows.device import slots
from flows.engine.executors import Executor, Local, Queue, worked
from flows.engine.plan import Sizer, chunks
from flows.engine.record import abandon, begin, catalogue, counted, ended, new_run
from flows.engine.watch import Silence, Watch
from flows.jobs import ScoreJob
from loco.direction import Direction
from loco.errors import InputError, LocoError, RoiAbsent
from loco.folders import Folders, open_image
from loco.images import Picture, to_model
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi
from registry.files import manifests
from registry.files.cache import Cache
from registry.home import Home
from registry.records import ImageRecord, ModelRecord, RunRecord, Score
from registry.registry import Registry

BATCH = 8
"""Images inverted and edited together."""


@dataclass(frozen=True)
class ScoreChunk:
    """Some images of a run, with all that is needed to score directions on them in another process.

    Attributes:
        home, registry_url: The home and its catalogue.
        run_id: The run.
        model: The model that all directions belong to.
        root, masks: The dataset's folders.
        directions: What to score.
        rois: The region of each, as on the command line.
        strength, steps: Of the edit that is measured.
        images: What to score on.
        known: Pairs (direction id, image id) that were scored before.
    """

    home: Path
    registry_url: str | None
    run_id: str
    model: ModelRecord
    root: Path
    masks: Path | None
    directions: tuple[Direction, ...]
    rois: tuple[str, ...]
    strength: float
    steps: int
    images: tuple[ImageRecord, ...]
    known: frozenset[tuple[str, str]] = frozenset()


@dataclass
class ScoreOutcome:
    """What became of one image: its scores, what failed with its cause, and what region it lacks."""

    image: str
    scores: list[Score] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`failed`; `done` with new scores; `absent` where no region of those left is there; else `skipped`."""
        if self.failures:
            return "failed"
        return "done" if self.scores else "absent" if self.absent else "skipped"


ScoreExecutor = Executor[ScoreChunk, list[ScoreOutcome]]


def score(home: Home, url: str | None, job: ScoreJob, watch: Watch | None = None) -> RunRecord:
    """Run the `score` flow on the home's Prefect server, which is started when it is not up.

    Returns the finished run's record; raises `LocoError` for what stops the whole run.
    """
    registry = catalogue(home, url)
    _model_of(registry, _directions(registry, job))  # before a server is started for it
    registry.dataset(job.dataset, pictured=False)
    from flows.orchestration.server import keep_server, use_server

    use_server(home)
    from flows.orchestration.decorators import score_on_server, watched

    with watched(watch or Silence()), keep_server(home):
        return score_on_server(home, url, job)


def run_score(
    home: Home,
    url: str | None,
    job: ScoreJob,
    watch: Watch,
    executor: ScoreExecutor | Callable[[ScoreChunk], list[ScoreOutcome]],
) -> RunRecord:
    """Plan the job, hand its chunks to the executor (or a plain function), write scores as they come in."""
    if callable(executor):
        executor = Local(executor)
    registry = catalogue(home, url)
    directions = _directions(registry, job)
    model = _model_of(registry, directions)
    dataset = registry.dataset(job.dataset, pictured=False)
    planned = registry.image_counts().get(dataset.name, 0)
    planned = planned if job.limit is None else min(planned, job.limit)
    rois = tuple(_region(registry, one) for one in directions)
    run = new_run("score", asdict(job) | {"model_id": model.id, "dataset_id": dataset.id}, planned)
    begin(registry, run)
    watch.total(planned)
    known = _known(registry, directions, job)
    sizer = Sizer(executor.width)
    masks = Path(dataset.masks) if dataset.masks else None
    root = Path(dataset.path)
    plan = (
        ScoreChunk(
            home.root,
            url,
            run.id,
            model,
            root,
            masks,
            directions,
            rois,
            job.strength,
            job.steps,
            images,
            frozenset(
                (one.id, image.id) for one in directions for image in images if (one.id, image.id) in known
            ),
        )
        for images in chunks(registry, dataset, planned, sizer)
    )
    try:
        for chunk, future in worked(executor, Queue(plan)):
            outcomes = future.result()
            registry.add_scores(score for outcome in outcomes for score in outcome.scores)
            failed = [one for one in outcomes if one.failures]
            lines = [{"kind": "failure", "image": one.image, "failures": one.failures} for one in failed]
            lacking = [one for one in outcomes if one.absent]
            lines += [{"kind": "absent", "image": one.image, "absent": one.absent} for one in lacking]
            manifests.append(home, run.id, lines)
            for outcome in outcomes:
                run = counted(run, **{outcome.status: 1}, scores=len(outcome.scores))
                for roi, cause in outcome.failures:
                    watch.say(f"failed: {outcome.image}{f' ({roi})' if roi else ''}: {cause}")
                for _, reason in outcome.absent:
                    watch.say(f"absent: {outcome.image}: {reason}")
            sizer.learn(len(chunk.images), 0, 0.0)
            watch.advance(len(outcomes))
    except BaseException:
        abandon(registry, run)
        raise
    run = ended(run)
    registry.finish_run(run)
    return run


def score_chunk(chunk: ScoreChunk) -> list[ScoreOutcome]:
    """Score the directions on the images of one chunk; an image that fails costs none of the others."""
    outcomes = [ScoreOutcome(image.name) for image in chunk.images]
    pending: list[tuple[Picture, dict[int, Roi], ScoreOutcome]] = []
    for image, outcome in zip(chunk.images, outcomes, strict=True):
        todo = [k for k, one in enumerate(chunk.directions) if (one.id, image.id) not in chunk.known]
        regions: dict[int, Roi] = {}
        for k in todo:
            try:
                spec = RoiSpec.parse(chunk.rois[k])
                roi = resolve_roi(spec, Folders(chunk.root, chunk.masks), image, Home(chunk.home).masks)
                regions[k] = roi.fit(chunk.model.shape[1:])
            except RoiAbsent as error:
                if (chunk.directions[k].roi, str(error)) not in outcome.absent:
                    outcome.absent.append((chunk.directions[k].roi, str(error)))
            except LocoError as error:
                outcome.failures.append((chunk.directions[k].roi, str(error)))
        if not regions:
            continue
        try:
            pending.append((open_image(chunk.root, image.name, image.id), regions, outcome))
        except LocoError as error:
            outcome.failures.append(("", str(error)))
    cache = Cache(Home(chunk.home))
    for start in range(0, len(pending), BATCH):
        _measure(chunk, pending[start : start + BATCH], cache)
    return outcomes


def _measure(
    chunk: ScoreChunk, part: list[tuple[Picture, dict[int, Roi], ScoreOutcome]], cache: Cache
) -> None:
    """Measure some images together, while an accelerator is held."""
    import torch

    from flows.device.inversions import inverted
    from flows.device.models import open_model
    from loco.diffusion.guidance import under
    from loco.edit import change
    from loco.inversion import Grid
    from loco.measure.transfer import figures, responses

    t, shape = chunk.directions[0].t, chunk.model.shape
    registry = Registry(Home(chunk.home), chunk.registry_url)
    with slots.held(slots.settled()) as slot:
        opened = open_model(chunk.model, "float32", slot.device)
        recipe = registry.basis(chunk.directions[0].basis_id).recipe
        denoiser = under(opened, recipe)
        vectors = torch.from_numpy(registry.vectors(chunk.directions)).to(slot.device)
        x0 = torch.stack([torch.from_numpy(to_model(one.pixels, shape[1:])) for one, _, _ in part])
        grid = Grid(t, chunk.steps)
        keys = [grid.key(chunk.model.id, chunk.model.train_steps, one.id, recipe) for one, _, _ in part]
        path = inverted(denoiser, x0.to(slot.device), grid, keys, cache)
        first_order = [responses(denoiser, x_t, t, vectors) for x_t in path.x_t]
        for k, direction in enumerate(chunk.directions):
            edited = change(denoiser, path, chunk.strength * vectors[k])
            for row, (picture, regions, outcome) in enumerate(part):
                if k in regions:
                    found = figures(first_order[row][k], edited[row], regions[k], chunk.strength) | {
                        "steps": float(chunk.steps)
                    }
                    outcome.scores.append(
                        Score(chunk.run_id, direction.id, picture.id, chunk.strength, found)
                    )


def _directions(registry: Registry, job: ScoreJob) -> tuple[Direction, ...]:
    """The job's directions; raises `InputError` when they are of several models or noise levels."""
    found = tuple(dict.fromkeys(registry.direction(name) for name in job.directions))
    if len({(one.model, one.t, one.shape, one.prompt) for one in found}) != 1:
        raise InputError(
            "score: the directions must be of one model, one t and one prompt; score the others in a run of their own"
        )
    return found


def _model_of(registry: Registry, directions: tuple[Direction, ...]) -> ModelRecord:
    known = [one for one in registry.models() if one.id == directions[0].model]
    if not known:
        raise InputError(
            f"direction {directions[0].short} belongs to model {directions[0].model[:12]}, which is not registered "
            f"here; add it with `loco model add NAME SOURCE`"
        )
    return known[0]


def _region(registry: Registry, direction: Direction) -> str:
    """The direction's region as it is asked for on another image: by name, or by what it was made from."""
    [source] = [one.source for one in registry.basis(direction.basis_id).rois if one.id == direction.roi_id]
    again = source.startswith(("box:", "segment:", "sam:"))
    return f"{direction.roi}={source}" if again else direction.roi


def _known(registry: Registry, directions: tuple[Direction, ...], job: ScoreJob) -> set[tuple[str, str]]:
    """Pairs of direction and image that have a score at this strength and these steps."""
    return {
        (one.id, score.image_id)
        for one in directions
        for score in registry.scores(one.id)
        if score.strength == job.strength and score.figures.get("steps") == job.steps
    }
