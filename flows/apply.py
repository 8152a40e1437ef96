"""Bulk application: x_t + strength * sum of weight * v over many images, one output file a strength.

`apply_chunk` writes each image whole and then a line of OUT/manifest.jsonl; `run_apply` is the only writer of rows. An
output whose line, bytes and edit id still agree is not made again, so a killed run goes on where it stopped.
"""

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flows.jobs import ApplyJob, Silence, Watch
from flows.runs import abandon, begin, catalogue, counted, ended, new_run
from loco.dataset import open_image
from loco.direction import Direction
from loco.errors import InputError, LocoError
from loco.ids import content_id, file_id
from loco.images import Format, Picture, apply_change, encode, list_images, read_image, to_model
from loco.models.family import is_latent
from loco.recipes import EditRecipe
from registry import manifests
from registry.home import Home, storage_errors, sweep, write_atomic
from registry.records import EditItem, ModelRecord, RunRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.edit import Prepared

CHUNK = 16
"""Images a task, and a batch of the network."""

PREPARED_BYTES = 256 * 2**20
"""Inverted batches kept in this process, so that a second direction on the same images inverts nothing."""

_PREPARED: "OrderedDict[tuple[object, ...], Prepared]" = OrderedDict()

MANIFEST = "manifest.jsonl"
TABLE = "manifest.parquet"


@dataclass(frozen=True)
class ApplyChunk:
    """Some images of a run, with all that is needed to work on them in another process.

    Attributes:
        home, registry_url: The home and its catalogue.
        run_id: The run.
        model: The model that all directions belong to.
        root: Folder of the images.
        names: Their names in it.
        ids: sha256 of each image's bytes where a dataset knows it, else empty.
        stems: The beginning of each image's output names, relative to `out`.
        recipes: One for each strength.
        strengths: The strengths, as they stand in the names.
        label: The directions, as they stand in the names.
        out: Folder of the outputs.
        format: Their format.
        present: Output file -> (edit id, checksum) of what is there already.
    """

    home: Path
    registry_url: str | None
    run_id: str
    model: ModelRecord
    root: Path
    names: tuple[str, ...]
    ids: tuple[str, ...]
    stems: tuple[str, ...]
    recipes: tuple[EditRecipe, ...]
    strengths: tuple[float, ...]
    label: str
    out: Path
    format: Format
    present: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class EditOutcome:
    """What became of one output file: `done`, `skipped` (it was there) or `failed`, with the cause."""

    image: str
    output: str
    strength: float
    status: str
    edit: EditItem | None = None
    cause: str = ""


def apply(home: Home, url: str | None, job: ApplyJob, watch: Watch | None = None) -> RunRecord:
    """Run the `apply` flow on the home's Prefect server, which is started when it is not up.

    Returns the finished run's record; raises `LocoError` for what stops the whole run.
    """
    registry = catalogue(home, url)
    _model_of(registry, _directions(registry, job))  # before a server is started for it
    _sources(registry, job)
    from flows.server import use_server

    use_server(home)
    from flows.orchestrated import apply_flow, watched

    with watched(watch or Silence()):
        return apply_flow(home.root, url, job)


def run_apply(
    home: Home,
    url: str | None,
    job: ApplyJob,
    watch: Watch,
    work: Callable[[ApplyChunk], list[EditOutcome]],
) -> RunRecord:
    """Plan the job, hand its chunks to `work` (`apply_chunk`, or a task of it), write rows as results come in."""
    registry = catalogue(home, url)
    directions = _directions(registry, job)
    model = _model_of(registry, directions)
    t = _level(job, directions)
    weights = [weight for _, weight in job.directions]
    recipes = tuple(
        EditRecipe(
            t,
            tuple((one.id, weight * strength) for one, weight in zip(directions, weights, strict=True)),
            job.steps,
        )
        for strength in job.strengths
    )
    root, names, ids = _sources(registry, job)
    stems = _stems(names)
    spec = asdict(job) | {"out": str(job.out), "images": str(root), "model_id": model.id, "t": t}
    run = new_run("apply", spec, len(names) * len(recipes))
    title, format = label(directions, weights), _format(job.format)
    if len(set(_outputs(("",), title, job.strengths, format))) < len(job.strengths):
        written = ", ".join(map(repr, job.strengths))
        raise InputError(
            f"strengths {written}: two of them would be written to one file; leave one of them out"
        )
    with storage_errors(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    sweep(job.out)
    present = _present(job.out)
    begin(registry, run)
    watch.total(len(names) * len(recipes))
    try:
        for start in range(0, len(names), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = ApplyChunk(
                home.root,
                url,
                run.id,
                model,
                root,
                names[part],
                ids[part],
                stems[part],
                recipes,
                job.strengths,
                title,
                job.out,
                format,
                {
                    name: present[name]
                    for name in _outputs(stems[part], title, job.strengths, format)
                    if name in present
                },
            )
            outcomes = work(chunk)
            _catalogue(registry, outcomes)
            manifests.append(home, run.id, [_failure(one) for one in outcomes if one.status == "failed"])
            run = counted(run, **Counter(outcome.status for outcome in outcomes))
            for outcome in outcomes:
                if outcome.status == "failed":
                    watch.say(f"failed: {outcome.image} -> {outcome.output}: {outcome.cause}")
            watch.advance(len(outcomes))
        _write_table(job.out)
    except BaseException:
        abandon(registry, run)
        raise
    run = ended(run)
    registry.finish_run(run)
    return run


def label(directions: list[Direction], weights: list[float]) -> str:
    """How the directions stand in file names: `mouth-1a2b3c4d`, joined by `+`, with weights other than 1."""
    parts = [
        f"{one.roi}-{one.id[:8]}" + (f"x{weight:g}" if weight != 1 else "")
        for one, weight in zip(directions, weights, strict=True)
    ]
    return "+".join(parts)


def apply_chunk(chunk: ApplyChunk) -> list[EditOutcome]:
    """Work on the images of one chunk; an image or file that fails costs none of the others."""
    outcomes: list[EditOutcome] = []
    pending: list[tuple[Picture, str, list[int]]] = []
    for name, known_id, stem in zip(chunk.names, chunk.ids, chunk.stems, strict=True):
        try:
            picture = (
                open_image(chunk.root, name, known_id) if known_id else read_image(chunk.root / name, name)
            )
        except LocoError as error:
            outcomes += [
                EditOutcome(name, _output(chunk, stem, k), strength, "failed", cause=str(error))
                for k, strength in enumerate(chunk.strengths)
            ]
            continue
        todo = []
        for k, strength in enumerate(chunk.strengths):
            item = _item(chunk, picture, stem, k)
            checksum = chunk.present.get(item.output, ("", ""))
            if checksum[0] == item.id and _sound(chunk.out / item.output, checksum[1]):
                found = replace(item, output=str(chunk.out / item.output), checksum=checksum[1])
                outcomes.append(EditOutcome(name, item.output, strength, "skipped", found))
            else:
                todo.append(k)
        if todo:
            pending.append((picture, stem, todo))
    if pending:
        outcomes += _compute(chunk, pending)
    return outcomes


def _compute(chunk: ApplyChunk, pending: list[tuple[Picture, str, list[int]]]) -> list[EditOutcome]:
    """Invert the images once, then edit and write them strength by strength."""
    import torch

    from flows.models import device, open_model
    from loco.diffusion.guidance import under
    from loco.edit import change, combine, prepare

    recipe = chunk.recipes[0]
    dtype = getattr(torch, recipe.dtype)
    registry = Registry(Home(chunk.home), chunk.registry_url)
    directions = [registry.direction(name) for name, _ in recipe.directions]
    vectors = torch.from_numpy(registry.vectors(directions)).to(device(), dtype)
    denoiser = under(open_model(chunk.model, recipe.dtype), recipe)
    x0 = torch.stack([torch.from_numpy(to_model(one.pixels, chunk.model.shape[1:])) for one, _, _ in pending])
    prepared: Prepared | None = None
    outcomes = []
    for k, (strength, edit) in enumerate(zip(chunk.strengths, chunk.recipes, strict=True)):
        rows = [row for row, (_, _, todo) in enumerate(pending) if k in todo]
        if not rows:
            continue
        displacement = combine(vectors, [weight for _, weight in edit.directions])
        if not bool(displacement.any()):
            changes = torch.zeros((len(rows), *chunk.model.shape))  # costs no evaluation: the input itself
        else:
            ids = tuple(picture.id for picture, _, _ in pending)
            words = (edit.prompt, edit.negative, edit.guidance)
            key = (chunk.model.id, recipe.dtype, edit.t, edit.steps, words, ids)
            prepared = (
                prepared
                or _PREPARED.get(key)
                or prepare(denoiser, x0.to(device(), dtype), edit.t, edit.steps)
            )
            _remember(key, prepared)
            part = replace(prepared, x_t=prepared.x_t[rows], reconstruction=prepared.reconstruction[rows])
            changes = change(denoiser, part, displacement).float().cpu()
        for row, delta in zip(rows, changes.numpy(), strict=True):
            picture, stem, _ = pending[row]
            item = _item(chunk, picture, stem, k)
            try:
                data = encode(apply_change(picture.pixels, delta), chunk.format)
                write_atomic(chunk.out / item.output, data)
                item = replace(
                    item,
                    checksum=file_id(chunk.out / item.output),
                    metrics={"change": float((delta.astype("float64") ** 2).mean())},
                )
                _log(chunk.out, item, strength)
            except LocoError as error:
                outcomes.append(EditOutcome(picture.name, item.output, strength, "failed", cause=str(error)))
                continue
            kept = replace(item, output=str(chunk.out / item.output))
            outcomes.append(EditOutcome(picture.name, item.output, strength, "done", kept))
    return outcomes


def _remember(key: tuple[object, ...], prepared: "Prepared") -> None:
    _PREPARED[key] = prepared
    _PREPARED.move_to_end(key)
    while sum(2 * one.x_t.nbytes for one in _PREPARED.values()) > PREPARED_BYTES and len(_PREPARED) > 1:
        _PREPARED.popitem(last=False)


def _directions(registry: Registry, job: ApplyJob) -> list[Direction]:
    return [registry.direction(name) for name, _ in job.directions]


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


def _format(name: str) -> Format:
    match name:
        case "png" | "jpg" | "webp":
            return name
    raise InputError(f"format must be png, jpg or webp, found {name!r}")


def _sources(registry: Registry, job: ApplyJob) -> tuple[Path, tuple[str, ...], tuple[str, ...]]:
    """Folder, names and (for a dataset) ids of the images; raises `InputError` when there are none."""
    if (job.images is None) == (job.dataset is None):
        raise InputError("name the images with either --images DIR or --dataset NAME")
    if job.images is None:
        dataset = registry.dataset(str(job.dataset))
        images = dataset.images[: job.limit]
        return Path(dataset.path), tuple(one.name for one in images), tuple(one.id for one in images)
    files = list_images(job.images, skip=(job.images / "masks", job.out))[: job.limit]
    if not files:
        raise InputError(f"{job.images}: no images to edit; expected PNG, JPEG, WebP, BMP or TIFF files")
    names = tuple(file.relative_to(job.images).as_posix() for file in files)
    return job.images, names, ("",) * len(names)


def _stems(names: tuple[str, ...]) -> tuple[str, ...]:
    """What output names begin with: the name without its suffix, or with it where two would be one."""
    bare = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    seen = Counter([*bare, *names])  # `a.png.webp` must not take the name that `a.png` may need
    return tuple(stem if seen[stem] == 1 else name for stem, name in zip(bare, names, strict=True))


def output_name(stem: str, label: str, strength: float, format: Format) -> str:
    """Where an edited image goes, relative to the output folder."""
    return f"{stem}__{label}__{strength:+g}.{format}"


def _outputs(stems: tuple[str, ...], title: str, strengths: tuple[float, ...], format: Format) -> list[str]:
    return [output_name(stem, title, strength, format) for stem in stems for strength in strengths]


def _output(chunk: ApplyChunk, stem: str, k: int) -> str:
    return output_name(stem, chunk.label, chunk.strengths[k], chunk.format)


def _item(chunk: ApplyChunk, picture: Picture, stem: str, k: int) -> EditItem:
    """The edit item of one output, without checksum; `output` relative to the output folder."""
    recipe = chunk.recipes[k]
    return EditItem(
        id=content_id("edit", [chunk.model.id, picture.id, recipe]),
        run_id=chunk.run_id,
        image_id=picture.id,
        image_name=picture.name,
        recipe=asdict(recipe),
        output=_output(chunk, stem, k),
        checksum="",
    )


def _present(out: Path) -> dict[str, tuple[str, str]]:
    """Output file -> (edit id, checksum), from the lines of an earlier run; a torn last line is no line."""
    lines: dict[str, tuple[str, str]] = {}
    for line in _lines(out):
        lines[str(line["output"])] = (str(line["id"]), str(line["checksum"]))
    return lines


def _lines(out: Path) -> Iterable[dict[str, Any]]:
    path = out / MANIFEST
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and {"id", "output", "checksum"} <= line.keys():
                yield line


def _sound(path: Path, checksum: str) -> bool:
    try:
        return path.is_file() and file_id(path) == checksum
    except OSError:
        return False


def _log(out: Path, item: EditItem, strength: float) -> None:
    """One line of the output folder's manifest, in one write, after the image is there."""
    line = asdict(item) | {"strength": strength}
    path = out / MANIFEST
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # a kill in the middle of a line
            data = (b"\n" if torn else b"") + json.dumps(line, sort_keys=True).encode() + b"\n"
            if os.write(handle, data) != len(data):
                raise OSError(f"the disk took only a part of {len(data)} bytes")
        finally:
            os.close(handle)


def _catalogue(registry: Registry, outcomes: list[EditOutcome]) -> None:
    """Rows for what was made now, and for what a killed run made without living to write its row."""
    made = [one.edit for one in outcomes if one.edit and one.status == "done"]
    found = [one.edit for one in outcomes if one.edit and one.status == "skipped"]
    known = registry.known_edits([one.id for one in found])
    registry.add_edits(made + [one for one in found if one.id not in known])


def _failure(outcome: EditOutcome) -> dict[str, Any]:
    return {"kind": "failure", "image": outcome.image, "output": outcome.output, "cause": outcome.cause}


def _write_table(out: Path) -> None:
    """The manifest as Parquet beside its lines, one row an output: the last line of each counts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    last = {str(line["output"]): line for line in _lines(out)}
    if not last:
        return
    rows = [
        {
            "output": name,
            "image": line["image_name"],
            "image_id": line["image_id"],
            "edit_id": line["id"],
            "checksum": line["checksum"],
            "strength": float(line["strength"]),
            "t": float(line["recipe"]["t"]),
            "steps": int(line["recipe"]["steps"]),
            "directions": [str(pair[0]) for pair in line["recipe"]["directions"]],
            "weights": [float(pair[1]) for pair in line["recipe"]["directions"]],
            "change": float(line["metrics"].get("change", 0.0)),
        }
        for name, line in sorted(last.items())
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    write_atomic(out / TABLE, sink.getvalue().to_pybytes())
