"""Analysis of a registered model: its images and regions, the measurement, and its tables and figures as files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.watch import Silence, Watch
from loco.errors import InputError
from loco.files import write_atomic
from loco.ids import content_id
from loco.recipes import ALGORITHM, DiscoverRecipe
from registry.files.cache import Cache
from registry.index.outputs import encode
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.measure.analysis import Level

LAYOUT = 3
"""Of a level's rows as they are kept; grows with every change of what is measured."""

MIDDLE = "box:0.3,0.3,0.7,0.7"
"""The region of images of which nothing is known."""


@dataclass(frozen=True)
class AnalyzeJob:
    """What to measure.

    Attributes:
        model: Name of a registered model.
        dataset: Name of a registered dataset, or None for pictures that the model draws itself.
        rois: Regions, as for discovery; none for a box in the middle.
        levels: Noise levels; none for 0.1 to 0.9.
        images: Images to look at.
        points: Points with fresh noise that figures are averaged over.
        dense: Of how many of these whole Jacobians are formed, where they are small enough; 0 for none.
        others: Whether those of a U-Net's middle block are, too.
        use: Whether the recommended t becomes the model's default.
        out: Folder of the results.
    """

    model: str
    dataset: str | None
    rois: tuple[str, ...]
    levels: tuple[float, ...]
    images: int
    points: int
    dense: int
    others: bool
    use: bool
    out: Path


def run_analyze(registry: Registry, job: AnalyzeJob, watch: Watch) -> tuple[list[dict[str, Any]], float]:
    """Measure, write the files, and return the rows by level with the recommended t.

    Why that is recommended is said, and written. Each level is kept in the home's cache when it is finished: whoever
    asks the same again goes on from there.
    """
    import torch

    from flows.device.models import device, open_model
    from loco.diffusion.codec import codec_of
    from loco.diffusion.guidance import under
    from loco.diffusion.sampling import sample
    from loco.measure.analysis import LEVELS, Asked, analyze, explained
    from loco.measure.figures import levels_figure, strengths_figure

    record = registry.model(job.model)
    levels = tuple(sorted(set(job.levels))) or LEVELS
    denoiser = under(open_model(record, "float32"), DiscoverRecipe(t=0.5))
    height, width = codec_of(denoiser).image_shape[1:]
    names: list[Any] = [["drawn", number] for number in range(job.images)]
    if job.dataset is None:
        noise = torch.randn((job.images, *denoiser.shape), generator=torch.Generator().manual_seed(0))
        x0 = list(sample(denoiser, noise.to(device()), 1.0, 50))
        regions = [[_box(text, height, width) for text in job.rois or (f"middle={MIDDLE}",)]] * job.images
    else:
        x0, regions, names = _of_dataset(registry, job, denoiser, (height, width), watch)
    watch.total(len(levels) * len(x0))
    pictures: list[Any] = [
        [name, [roi.id for roi in rois]] for name, rois in zip(names, regions, strict=True)
    ]
    if job.dataset is None:
        pictures.append(job.images)  # they are drawn in one batch
    settings = [ALGORITHM, LAYOUT, record.id, pictures, job.points, job.dense, job.others]
    rows, strengths, recommended = analyze(
        denoiser,
        x0,
        regions,
        levels=levels,
        asked=Asked(job.points, job.dense, job.others),
        progress=watch.advance,
        kept=_kept(Cache(registry.home), settings, len(x0), watch),
    )
    why = explained(rows, recommended)
    watch.say(why)
    told = {
        "model": record.name,
        "model_id": record.id,
        "recommended_t": recommended,
        "why": why,
        "levels": rows,
    }
    write_atomic(job.out / "analysis.json", json.dumps(told | {"strengths": strengths}, indent=1).encode())
    write_atomic(job.out / "levels.parquet", parquet_of(rows))
    write_atomic(job.out / "strengths.parquet", parquet_of(strengths))
    for kind in ("png", "svg"):
        write_atomic(job.out / f"levels.{kind}", levels_figure(rows, recommended, kind))
        write_atomic(job.out / f"strengths.{kind}", strengths_figure(strengths, kind))
    if job.use:
        registry.add_model(replace(record, recommended_t=recommended))
    return rows, recommended


QUICK = (2.0, 0.5, -1.0, -2.5, -4.0)
"""Levels of a quick look, as log_snr: those at which models of any schedule and of 32 to 512 pixels are edited."""


def quick_level(registry: Registry, model: str, dataset: str, rois: Sequence[str], watch: Watch) -> float:
    """A level to edit at, from the regions of two images of the dataset; it becomes the model's default.

    It costs what discovery on some ten images does. Where none has the regions, a box in the middle stands for them.
    Raises `InputError` where no image can be read.
    """
    from flows.device.models import open_model
    from loco.diffusion.codec import codec_of
    from loco.diffusion.guidance import under
    from loco.measure.analysis import Asked, analyze, explained

    record = registry.model(model)
    denoiser = under(open_model(record, "float32"), DiscoverRecipe(t=0.5))
    job = AnalyzeJob(model, dataset, tuple(rois), (), 2, 0, 0, False, True, Path())
    size = codec_of(denoiser).image_shape[1:]
    try:
        x0, regions, _ = _of_dataset(registry, job, denoiser, size, Silence())
    except InputError:
        x0, regions, _ = _of_dataset(registry, replace(job, rois=()), denoiser, size, Silence())
    levels = [_reached(denoiser.schedule, one) for one in QUICK]
    watch.say(
        f"model {model!r} recommends no noise level: looking at t = "
        f"{', '.join(f'{t:g}' for t in sorted(set(levels)))} on {len(x0)} of the images"
    )
    quick = Asked(noised=0, dense=0, recipe=DiscoverRecipe(t=0.5, tol=0.1, max_rounds=5))
    rows, _, found = analyze(denoiser, x0, regions, levels=sorted(set(levels)), asked=quick)
    registry.add_model(replace(record, recommended_t=found))
    watch.say(explained(rows, found))
    watch.say(
        f"t = {found:g} is the model's default now; `loco analyze --model {model} --use` measures one with more care, "
        f"--t says another"
    )
    return found


def _reached(schedule: Any, log_snr: float) -> float:
    """The t of that level, or of the schedule's nearest end."""
    from loco.levels import log_snr as of

    ends = [of(schedule.at(schedule.level(step))) for step in (1, schedule.train_steps - 2)]
    high, low = (one if one is not None else default for one, default in zip(ends, (9.0, -9.0), strict=True))
    return float(schedule.nearest(f"logsnr:{min(max(log_snr, low), high)!r}"))


def _kept(
    cache: Cache, settings: Sequence[Any], images: int, watch: Watch
) -> "Callable[[float, Callable[[], Level]], Level]":
    """Levels by what they are made of: from the cache, else measured and put there."""
    import numpy as np

    def level(t: float, measure: "Callable[[], Level]") -> "Level":
        key = content_id("analysis", [*settings, DiscoverRecipe(t=t)])
        known = cache.get(key)
        if known is not None:
            row, strengths = json.loads(known.tobytes())
            watch.say(f"t {t:g} is known from before")
            watch.advance(images)
            return row, strengths
        found = measure()
        cache.put(key, np.frombuffer(json.dumps(found).encode(), np.uint8))
        return found

    return level


def _box(text: str, height: int, width: int) -> Any:
    from loco.rois.layouts import RoiSpec
    from loco.rois.roi import from_box

    spec = RoiSpec.parse(text)
    if spec.box is None:
        raise InputError(
            f"region {spec.name!r} needs a dataset that has it; add --dataset, or give a box: "
            f"{spec.name}={MIDDLE}"
        )
    return from_box(spec.name, spec.box, (height, width))


def _of_dataset(
    registry: Registry, job: AnalyzeJob, denoiser: Any, size: tuple[int, int], watch: Watch
) -> tuple[list[Any], list[list[Any]], list[str]]:
    """The first images of the dataset that can be read and have all the regions, as the model takes them.

    With the regions and the sha256 of each.
    """
    import torch

    from flows.device.models import device
    from flows.studies.images import left_out, read_images
    from loco.diffusion.codec import codec_of

    rois = job.rois or (f"middle={MIDDLE}",)
    looked, trouble = read_images(registry, str(job.dataset), rois, size, job.images)
    if trouble:
        watch.say(left_out(str(job.dataset), trouble))
    codec = codec_of(denoiser)
    x0 = [codec.encode(torch.from_numpy(one.pixels)[None].to(device()))[0] for one in looked]
    return x0, [list(one.rois) for one in looked], [one.id for one in looked]


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    """Rows of plain data as a Parquet file."""
    import pyarrow

    names = list(dict.fromkeys(name for row in rows for name in row))
    return encode(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), "parquet")
