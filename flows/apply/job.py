"""Bulk application: plan a job over any number of images, hand out chunks, write the catalogue's rows.

`apply_chunk` (`stream.py`) writes each image whole and then a line of OUT/manifest.jsonl; `run_apply` is the only
writer of rows, and writes those of one chunk while the next is worked on. An output whose line, bytes and edit id still
agree is not made again, so a killed run goes on where it stopped.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.apply.edits import ApplyChunk, Edit, EditOutcome, Work, chunk_with, output_of
from flows.apply.outputs import Outputs
from flows.apply.places import Source, local_path
from flows.apply.sources import list_sources
from flows.apply.spool import Spool
from flows.apply.stream import apply_chunk
from flows.engine.record import abandon, begin, catalogue, counted, ended, new_run
from flows.engine.watch import Silence, Watch
from flows.jobs import ApplyJob
from loco.direction import Direction
from loco.errors import InputError
from loco.formats import Format, format_of
from loco.images import EXPECTED
from loco.marks.marking import check as check_marks
from loco.models.family import is_latent
from loco.recipes import EditRecipe
from loco.rois.layouts import RoiSpec
from registry.files import manifests
from registry.files.cache import LIMIT
from registry.home import Home
from registry.records import DatasetRecord, ModelRecord, RunRecord
from registry.registry import Registry

__all__ = ["apply", "apply_chunk", "label", "run_apply"]

CHUNK = 256
"""Images a task, at least: enough that filling and draining the stream costs little."""

PAGE = 1000
"""Images of a dataset in memory at a time."""

CHUNKS = 200
"""Tasks a run, at most: Prefect's server is not made for more."""


def apply(home: Home, url: str | None, job: ApplyJob, watch: Watch | None = None) -> RunRecord:
    """Run the `apply` flow on the home's Prefect server, which is started when it is not up.

    Returns the finished run's record; raises `LocoError` for what stops the whole run.
    """
    registry = catalogue(home, url)
    _model_of(registry, _directions(registry, job))  # before a server is started for it
    next(_sources(registry, job, _dataset(registry, job)), None)
    Outputs(home, job.out, job.manifest).check()
    from flows.orchestration.server import use_server

    use_server(home)
    from flows.orchestration.decorators import apply_on_server, watched

    with watched(watch or Silence()):
        return apply_on_server(home, url, job)


def run_apply(
    home: Home, url: str | None, job: ApplyJob, watch: Watch, work: Callable[[ApplyChunk], Work]
) -> RunRecord:
    """Plan the job, hand its chunks to `work` (`apply_chunk`, or a task of it), write rows as results come in."""
    registry = catalogue(home, url)
    model = _model_of(registry, _directions(registry, job))
    edits, warnings = plan_edits(registry, job)
    format = format_of(job.format)
    _check_names(edits, format)
    dataset = _dataset(registry, job)
    outputs = Outputs(home, job.out, job.manifest)
    outputs.check()
    check_marks(job.marks)
    with Spool(home.spool) as spool:
        said: list[str] = []
        count = spool.take(_sources(registry, job, dataset, said.append), job.limit, said.append)
        if not count:
            where = job.images if dataset is None else f"dataset {dataset.name!r}"
            raise InputError(f"{where}: no images to edit; expected {EXPECTED} files")
        levels = {edit.recipe.t for edit in edits}
        spec = _plain_spec(job) | {"model_id": model.id, "t": levels.pop() if len(levels) == 1 else job.t}
        if dataset is not None:
            spec["images"] = dataset.path
        run = new_run("apply", spec, count * len(edits))
        outputs.prepare()
        outputs.recall(spool)
        begin(registry, run)
        watch.total(count * len(edits))
        for warning in [*warnings, *said]:
            watch.say(f"note: {warning}")
        rows = _Rows(registry, run.id)
        try:
            with ThreadPoolExecutor(1, "rows") as beside:
                for part in spool.chunks(max(CHUNK, -(-count // CHUNKS))):
                    root, masks = _folders(job, dataset)
                    chunk = ApplyChunk(
                        home.root,
                        url,
                        run.id,
                        model,
                        tuple(source for source, _ in part),
                        tuple(stem for _, stem in part),
                        edits,
                        job.out,
                        format,
                        root,
                        masks,
                        LIMIT if job.cache is None else job.cache,
                        manifest=job.manifest,
                        marks=job.marks,
                    )
                    done = work(chunk_with(chunk, spool.present))
                    rows.write(beside, done.outcomes)
                    run = _told(run, home, done, watch)
                rows.wait()
            outputs.settle(spool)
        except BaseException:
            abandon(registry, run)
            raise
    run = ended(run)
    registry.finish_run(run)
    return run


class _Rows:
    """Rows of one chunk at a time, written beside the work on the next one."""

    def __init__(self, registry: Registry, run_id: str) -> None:
        self._registry, self._run_id = registry, run_id
        self._last: Future[None] | None = None

    def write(self, beside: ThreadPoolExecutor, outcomes: list[EditOutcome]) -> None:
        """Begin to write, once what was begun before is written; raises what that raised."""
        self.wait()
        self._last = beside.submit(_catalogue, self._registry, self._run_id, outcomes)

    def wait(self) -> None:
        """Until all is written."""
        if self._last is not None:
            self._last.result()


def _told(run: RunRecord, home: Home, work: Work, watch: Watch) -> RunRecord:
    """The run with a chunk's counts, after its failures are in the run's manifest and the watcher knows."""
    lacking = {one.image: one.cause for one in work.outcomes if one.status == "absent"}
    lines = [_failure(one) for one in work.outcomes if one.status == "failed"]
    lines += [
        {"kind": "absent", "image": image, "absent": [["", reason]]} for image, reason in lacking.items()
    ]
    manifests.append(home, run.id, lines)
    counts = Counter(one.status for one in work.outcomes)
    counts["evaluations"] = work.evaluations
    counts["no_effect"] = sum(one.no_effect for one in work.outcomes)
    for outcome in work.outcomes:
        if outcome.status == "failed":
            watch.say(f"failed: {outcome.image} -> {outcome.output}: {outcome.cause}")
    for image, reason in lacking.items():
        watch.say(f"absent: {image}: {reason}")
    watch.advance(len(work.outcomes))
    return counted(run, **counts)


def plan_edits(registry: Registry, job: ApplyJob) -> tuple[tuple[Edit, ...], list[str]]:
    """What is made of each image, and warnings; raises `InputError` for what cannot be."""
    against = tuple(registry.direction(name) for name in job.against)
    everything = [*_directions(registry, job), *against]
    _model_of(registry, everything)
    if job.confine is not None:
        RoiSpec.parse(job.confine)
    prompt, negative, guidance = _words(registry, job, everything)
    edits: list[Edit] = []
    warnings: list[str] = []
    for mix in job.mixes:
        directions = [registry.direction(name) for name, _ in mix.directions]
        weights = tuple(weight for _, weight in mix.directions)
        for strength in mix.strengths:
            as_it_is = job.beyond or job.unit == "sd"  # in sd it differs from image to image
            used = strength if as_it_is else _clipped(directions, weights, strength, warnings)
            recipe = EditRecipe(
                t=_level(job, directions),
                directions=tuple(
                    (one.id, weight * used) for one, weight in zip(directions, weights, strict=True)
                ),
                steps=job.steps,
                solver=job.solver,
                unit=job.unit,
                against=tuple(one.id for one in against),
                confine=job.confine,
                min_effect=job.min_effect,
                preview=job.preview,
                prompt=prompt,
                negative=negative,
                guidance=guidance,
            )
            title = mix.label or label(directions, weights)
            edits.append(Edit(recipe, weights, used, strength, title, tuple(one.t for one in directions)))
    return tuple(edits), list(dict.fromkeys(warnings))


def _words(
    registry: Registry, job: ApplyJob, directions: Sequence[Direction]
) -> tuple[str, str, float | None]:
    """Prompt, negative and guidance: the job's, or those under which the directions were found.

    Raises `InputError` when the job names none and the directions differ: all edits share a network pass.
    """
    if job.prompt:
        return job.prompt, job.negative, job.guidance
    if not any(one.prompt for one in directions):
        return "", job.negative, job.guidance
    recipes = [registry.basis(name).recipe for name in dict.fromkeys(one.basis_id for one in directions)]
    found = {(one.prompt, one.negative, one.guidance) for one in recipes}
    if len(found) > 1:
        told = " and ".join(sorted(repr(prompt) for prompt, _, _ in found))
        raise InputError(f"the directions were found under different words ({told}); say one with --prompt")
    return found.pop()


def _clipped(
    directions: list[Direction], weights: tuple[float, ...], strength: float, warnings: list[str]
) -> float:
    """The strength, or the largest at which every direction is still in its recorded linear range.

    A direction of which not even the least strength that was tried is linear has no range to clip to.
    """
    used = strength
    for one, weight in zip(directions, weights, strict=True):
        if one.linear_range and abs(weight * used) > one.linear_range:
            used = math.copysign(one.linear_range / abs(weight), strength)
            warnings.append(
                f"strength {strength:g} of {one.roi}-{one.id[:8]} is beyond its linear range of "
                f"{one.linear_range:.3g}: {used:.3g} is applied; --beyond applies it as it is"
            )
    return used


def label(directions: list[Direction], weights: Iterable[float]) -> str:
    """How the directions stand in file names: `mouth-1a2b3c4d`, joined by `+`, with weights other than 1."""
    parts = [
        f"{one.roi}-{one.id[:8]}" + (f"x{weight:g}" if weight != 1 else "")
        for one, weight in zip(directions, weights, strict=True)
    ]
    return "+".join(parts)


def _directions(registry: Registry, job: ApplyJob) -> list[Direction]:
    return [registry.direction(name) for mix in job.mixes for name, _ in mix.directions]


def _model_of(registry: Registry, directions: list[Direction]) -> ModelRecord:
    """The one registered model that all the directions belong to; raises `InputError`."""
    first = directions[0]
    for other in directions[1:]:
        if other.model != first.model or other.shape != first.shape:
            raise InputError(
                f"direction {other.short} belongs to model {other.model[:12]} with shape {other.shape}, direction "
                f"{first.short} to model {first.model[:12]} with shape {first.shape}: only directions of one model "
                f"can be applied together"
            )
    models = [model for model in registry.models() if model.id == first.model]
    if not models:
        raise InputError(
            f"direction {first.short} belongs to model {first.model[:12]}, which is not registered here; add it with "
            f"`loco model add NAME SOURCE`; registered are: "
            f"{', '.join(f'{model.name} ({model.id[:12]})' for model in registry.models()) or 'none'}"
        )
    if models[0].shape != first.shape and not is_latent(models[0].family):
        raise InputError(
            f"direction {first.short} has shape {first.shape}, model {models[0].name!r} works at {models[0].shape}"
        )
    return models[0]


def _level(job: ApplyJob, directions: list[Direction]) -> float:
    """The noise level to edit at; raises `InputError` when the directions differ and the job names none."""
    levels = sorted({one.t for one in directions})
    if job.t is None and len(levels) > 1:
        raise InputError(
            f"the directions were found at different t ({', '.join(f'{t:g}' for t in levels)}): choose with --t"
        )
    return levels[0] if job.t is None else job.t


def _check_names(edits: tuple[Edit, ...], format: Format) -> None:
    """Refuse edits of which two would be written to one file."""
    taken: dict[str, Edit] = {}
    for edit in edits:
        other = taken.setdefault(output_of("", edit, format), edit)
        if other is not edit:
            raise InputError(
                f"strengths {other.asked!r}, {edit.asked!r}: two of them would be written to one file "
                f"(*{output_of('', edit, format)}); leave one of them out"
            )


def _dataset(registry: Registry, job: ApplyJob) -> DatasetRecord | None:
    """The dataset of the images, or None where they come from elsewhere; raises `InputError`."""
    if (job.images is None) == (job.dataset is None):
        raise InputError("name the images with either --images DIR or --dataset NAME")
    return None if job.dataset is None else registry.dataset(job.dataset, pictured=False)


def _sources(
    registry: Registry,
    job: ApplyJob,
    dataset: DatasetRecord | None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Source]:
    """The images, one by one; `say` is told what is left out. Raises `InputError` where there are none."""
    if dataset is not None:
        root, start = Path(dataset.path), 0
        while page := registry.images(dataset, start, min(PAGE, job.limit or PAGE)):
            for image in page:
                yield Source(image.name, str(root / image.name), id=image.id)
            start += len(page)
            if job.limit is not None and start >= job.limit:
                break
        return
    out = local_path(str(job.out))
    yield from list_sources(str(job.images), () if out is None else (out,), say)


def _folders(job: ApplyJob, dataset: DatasetRecord | None) -> tuple[Path | None, Path | None]:
    """Folder of the images and folder of masks, where there are such."""
    if dataset is not None:
        return Path(dataset.path), job.masks or (Path(dataset.masks) if dataset.masks else None)
    root = local_path(str(job.images))
    if root is None or not root.is_dir():
        return None, job.masks
    own = root / "masks"
    return root, job.masks or (own if own.is_dir() else None)


def _plain_spec(job: ApplyJob) -> dict[str, Any]:
    """The job as a run's record has it."""
    spec = asdict(job)
    for name in ("out", "images", "masks"):
        spec[name] = None if spec[name] is None else str(spec[name])
    return spec


def _catalogue(registry: Registry, run_id: str, outcomes: list[EditOutcome]) -> None:
    """Rows for what was made now, and for what a killed run made without living to write its row.

    The latter stay the killed run's, where this catalogue knows it; else they are this run's.
    """
    made = [one.edit for one in outcomes if one.edit and one.status == "done"]
    found = [one.edit for one in outcomes if one.edit and one.status == "skipped"]
    known = registry.known_edits([one.id for one in found])
    lost = [one for one in found if one.id not in known]
    if lost:
        runs = {run.id for run in registry.runs("apply")}
        lost = [one if one.run_id in runs else replace(one, run_id=run_id) for one in lost]
    registry.add_edits(made + lost)


def _failure(outcome: EditOutcome) -> dict[str, Any]:
    return {"kind": "failure", "image": outcome.image, "output": outcome.output, "cause": outcome.cause}
