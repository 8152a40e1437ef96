"""Discovery over a dataset: plan, work chunk by chunk, catalogue what was found.

`discover_chunk` writes one basis file an image as soon as it is computed and touches no row; `run_discover` is the only
writer of rows. What exists already is not computed again, whether or not the catalogue heard of it: a killed run
leaves basis files, and the same command finds and indexes them.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from flows.jobs import DiscoverJob, Silence, Watch
from flows.runs import abandon, begin, catalogue, counted, ended, new_run
from loco.dataset import Folders, RoiSpec, open_image, resolve_roi
from loco.direction import basis_id, direction_id
from loco.errors import LocoError, UnknownName
from loco.images import Picture, to_model
from loco.recipes import DiscoverRecipe
from loco.roi import Roi
from registry import manifests
from registry.home import Home, sweep
from registry.records import ImageRecord, ModelRecord, RunRecord
from registry.registry import Registry
from registry.store import basis_path, write_basis

CHUNK = 4
"""Images a task: small enough that progress is seen, large enough that a task's overhead is not."""


@dataclass(frozen=True)
class DiscoverChunk:
    """Some images of a run, with all that is needed to work on them in another process."""

    home: Path
    registry_url: str | None
    model: ModelRecord
    root: Path
    masks: Path | None
    rois: tuple[str, ...]
    recipe: DiscoverRecipe
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        image: Its name.
        status: `done`, `skipped` (all of it was there) or `failed` (at least one region has no result).
        basis_id: The basis file to index, or None.
        directions: Directions in it.
        refused: Directions that vanished in the projection.
        evaluations: Network evaluations spent now.
        failures: Pairs (ROI or empty, cause).
        notes: What was done to the input on the way.
        seconds: Time spent.
    """

    image: str
    status: str
    basis_id: str | None = None
    directions: int = 0
    refused: int = 0
    evaluations: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class _Item:
    """An image on its way through a chunk."""

    record: ImageRecord
    picture: Picture | None = None
    rois: list[Roi] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def discover(home: Home, url: str | None, job: DiscoverJob, watch: Watch | None = None) -> RunRecord:
    """Run the `discover` flow on the home's Prefect server, which is started when it is not up.

    Returns the finished run's record; raises `LocoError` for what stops the whole run.
    """
    check_discover(catalogue(home, url), job)  # before a server is started for it
    from flows.server import use_server

    use_server(home)
    from flows.orchestrated import discover_flow, watched

    with watched(watch or Silence()):
        return discover_flow(home.root, url, job)


def check_discover(registry: Registry, job: DiscoverJob) -> None:
    """Refuse a job whose model, dataset or ROIs do not exist; raises `UnknownName`."""
    registry.model(job.model)
    dataset = registry.dataset(job.dataset)
    for text in job.rois:
        spec = RoiSpec.parse(text)
        if spec.box is None and spec.name not in dataset.rois:
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
    work: Callable[[DiscoverChunk], list[ImageOutcome]],
) -> RunRecord:
    """Plan the job, hand its chunks to `work` (`discover_chunk`, or a task of it), write rows as results come in."""
    registry = catalogue(home, url)
    check_discover(registry, job)
    sweep(home.bases)
    model, dataset = registry.model(job.model), registry.dataset(job.dataset)
    images = dataset.images[: job.limit]
    run = new_run("discover", asdict(job) | {"model_id": model.id, "dataset_id": dataset.id}, len(images))
    begin(registry, run)
    watch.total(len(images))
    try:
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            chunk = DiscoverChunk(
                home.root,
                url,
                model,
                Path(dataset.path),
                Path(dataset.masks) if dataset.masks else None,
                job.rois,
                job.recipe,
                part,
            )
            outcomes = work(chunk)
            registry.index(*(outcome.basis_id for outcome in outcomes if outcome.basis_id))
            manifests.append(home, run.id, [_line(outcome) for outcome in outcomes])
            for outcome in outcomes:
                run = counted(
                    run,
                    **{outcome.status: 1},
                    directions=outcome.directions if outcome.status != "skipped" else 0,
                    refused=outcome.refused,
                    evaluations=outcome.evaluations,
                )
                for roi, cause in outcome.failures:
                    watch.say(f"failed: {outcome.image}{f' ({roi})' if roi else ''}: {cause}")
                for note in outcome.notes:
                    watch.say(f"note: {outcome.image}: {note}")
            watch.advance(len(outcomes))
    except BaseException:
        abandon(registry, run)
        raise
    run = ended(run)
    registry.finish_run(run)
    return run


def discover_chunk(chunk: DiscoverChunk) -> list[ImageOutcome]:
    """Work on the images of one chunk; an image that fails costs none of the others."""
    home = Home(chunk.home)
    registry = Registry(home, chunk.registry_url)
    outcomes: dict[str, ImageOutcome] = {}
    pending: list[_Item] = []
    for record in chunk.images:
        item = _read(chunk, record)
        present = _present(home, registry, chunk, item) if item.rois else None
        if present is not None or not item.rois:
            status = "failed" if item.failures else "skipped"
            outcomes[record.name] = ImageOutcome(
                record.name, status, present, failures=tuple(item.failures), notes=tuple(item.notes)
            )
        else:
            pending.append(item)
    if pending:
        outcomes |= _compute(home, chunk, pending)
    return [outcomes[record.name] for record in chunk.images]


def _read(chunk: DiscoverChunk, record: ImageRecord) -> _Item:
    """The image and its regions at model size, with what failed on the way."""
    item = _Item(record)
    try:
        item.picture = open_image(chunk.root, record.name, record.id)
    except LocoError as error:
        item.failures.append(("", str(error)))
        return item
    for text in chunk.rois:
        spec = RoiSpec.parse(text)
        try:
            roi = resolve_roi(spec, Folders(chunk.root, chunk.masks), record)
            item.rois.append(roi.fit(chunk.model.shape[1:]))
        except LocoError as error:
            item.failures.append((spec.name, str(error)))
        else:
            if roi.note:
                item.notes.append(roi.note)
    return item


def _present(home: Home, registry: Registry, chunk: DiscoverChunk, item: _Item) -> str | None:
    """The basis id when all of the image's regions are there; otherwise `item.rois` keeps those that are not."""
    model, recipe, image = chunk.model.id, chunk.recipe, item.record.id
    whole = basis_id(model, image, recipe, tuple(roi.id for roi in item.rois))
    if basis_path(home, whole).is_file():
        return whole
    ids = {
        roi.id: [direction_id(model, image, recipe, roi.id, k) for k in range(recipe.rank)]
        for roi in item.rois
    }
    known = registry.known(one for several in ids.values() for one in several)
    missing = [roi for roi in item.rois if not known.intersection(ids[roi.id])]
    if not missing:
        return registry.direction(min(known)).basis_id
    item.rois = missing
    part = basis_id(model, image, recipe, tuple(roi.id for roi in missing))
    return part if basis_path(home, part).is_file() else None


def _compute(home: Home, chunk: DiscoverChunk, items: list[_Item]) -> dict[str, ImageOutcome]:
    """Invert the images together, then find and write each one's directions."""
    import torch

    from flows.models import device, open_model
    from loco.diffusion.codec import codec_of
    from loco.diffusion.guidance import edited_under, under
    from loco.diffusion.sampling import invert
    from loco.discover import discover as discover_image

    recipe = chunk.recipe
    opened = open_model(chunk.model, recipe.dtype)
    denoiser, edited = under(opened, recipe), edited_under(opened, recipe)
    started = time.monotonic()
    pixels = [to_model(item.picture.pixels, chunk.model.shape[1:]) for item in items if item.picture]
    x0 = torch.stack([torch.from_numpy(one) for one in pixels]).to(device(), getattr(torch, recipe.dtype))
    x_t = invert(denoiser, codec_of(denoiser).encode(x0), recipe.t, recipe.steps)
    outcomes = {}
    for item, point in zip(items, x_t, strict=True):
        name = item.record.name
        try:
            basis = discover_image(
                denoiser,
                point,
                item.rois,
                recipe,
                model=chunk.model.id,
                image_id=item.record.id,
                image_name=name,
                edited=edited,
            )
            seconds, started = time.monotonic() - started, time.monotonic()
            provenance: dict[str, str | float] = {
                "device": device(),
                "torch": torch.__version__,
                "seconds": round(seconds, 3),
            }
            write_basis(home, replace(basis, provenance=provenance))
        except LocoError as error:
            outcomes[name] = ImageOutcome(name, "failed", failures=(*item.failures, ("", str(error))))
            continue
        outcomes[name] = ImageOutcome(
            name,
            "failed" if item.failures else "done",
            basis.id,
            len(basis.directions),
            len(basis.refused),
            basis.evaluations,
            tuple(item.failures),
            tuple(item.notes),
            seconds,
        )
    return outcomes


def _line(outcome: ImageOutcome) -> dict[str, object]:
    return {"kind": "failure" if outcome.failures else "basis"} | asdict(outcome)
