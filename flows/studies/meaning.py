"""What a scorer makes of directions: each is added to and taken from images, and all numbers are read again.

An image counts for a direction where it has the direction's region. Readings stay in the cache: the same question goes
on where it was cut short, and one that is asked again is answered at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.engine.plan import PAGE
from flows.engine.watch import Watch
from flows.pictures import edits
from flows.pictures.strength import suited_strength
from flows.register import model_for
from loco.direction import Direction
from loco.errors import ImageError, InputError, LocoError, RoiAbsent
from loco.ids import content_id
from loco.measure.meaning import Moved, moved
from loco.recipes import ALGORITHM
from registry.files.cache import Cache
from registry.records import DatasetRecord, ImageRecord, ModelRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.scorers.scorer import Scorer

IMAGES = 24
"""Images asked, unless told otherwise: enough to tell one of fifty numbers from chance where most images agree."""

TOGETHER = 8
"""Directions that are added to an image in one batch, with both signs."""

SPREAD = 64
"""The first so many images that are asked are spread over the whole dataset."""

LEAST = 6
"""Images without which nothing can be said: with fewer even agreement of all is chance."""


@dataclass(frozen=True)
class Audited:
    """What a scorer makes of one direction.

    Attributes:
        direction: Which.
        strength: What was added, and taken away.
        images: How many images have its region.
        plus, minus: How each number moves when it is added, and when it is taken away.
    """

    direction: Direction
    strength: float
    images: int
    plus: tuple[Moved, ...]
    minus: tuple[Moved, ...]


def audit(
    registry: Registry,
    scorer: "Scorer",
    directions: Sequence[tuple[Direction, float | None]],
    dataset: str,
    watch: Watch,
    *,
    images: int = IMAGES,
    steps: int = edits.STEPS,
    share: float = 1.0,
) -> list[Audited]:
    """What the scorer makes of directions, each at its strength: the recommended one, else one that can be seen.

    Of a strength that was not asked for, `share` is taken.

    Images are taken evenly from the dataset; one that a direction was found on is asked about the others alone.
    Raises `UnknownName` for a dataset that is not there, `InputError` where too few of its images have a region.
    """
    record = registry.dataset(dataset, pictured=False)
    asked = _strengths(registry, directions, share)
    found: dict[tuple[str, float], Audited] = {}
    watch.total(len(asked) * images)

    def alike(pair: tuple[Direction, float]) -> tuple[str, float, str]:
        return pair[0].model, pair[0].t, pair[0].prompt

    for _, group in groupby(sorted(asked, key=alike), alike):
        several = list(group)
        for start in range(0, len(several), TOGETHER):
            for one in _together(
                registry, scorer, several[start : start + TOGETHER], record, images, steps, watch
            ):
                found[one.direction.id, one.strength] = one
    return [found[one.id, strength] for one, strength in asked]


def _together(
    registry: Registry,
    scorer: "Scorer",
    pairs: Sequence[tuple[Direction, float]],
    dataset: DatasetRecord,
    most: int,
    steps: int,
    watch: Watch,
) -> list[Audited]:
    """The same of a few directions of one model and level."""
    model = model_for(registry, pairs[0][0])
    cache = Cache(registry.home)
    read: list[list[NDArray[np.float32]]] = [[] for _ in pairs]
    regions = [_region(registry, one) for one, _ in pairs]
    trouble = ""
    for image in _spread(registry, dataset):
        wanted = [
            k
            for k, (one, _) in enumerate(pairs)
            if len(read[k]) < most and image.id != one.image_id and _has(dataset, image, model, regions[k])
        ]
        if not wanted:
            continue
        try:
            found = _readings(registry, scorer, model, [pairs[k] for k in wanted], image, steps, cache)
        except ImageError as error:
            trouble = f"; of {image.name}: {error}"
            continue
        for k, values in zip(wanted, found, strict=True):
            read[k].append(values)
        watch.advance(len(wanted))
        if all(len(one) >= most for one in read):
            break
    audited = []
    for (one, strength), rows in zip(pairs, read, strict=True):
        if len(rows) < LEAST:
            raise InputError(
                f"direction {one.short}: {len(rows)} images of dataset {dataset.name!r} have {one.roi}, at least "
                f"{LEAST} are needed to tell anything from chance{trouble}; give another dataset"
            )
        minus, zero, plus = np.stack(rows).swapaxes(0, 1)
        audited.append(
            Audited(
                one,
                strength,
                len(rows),
                tuple(moved(zero, plus, scorer.names)),
                tuple(moved(zero, minus, scorer.names)),
            )
        )
    return audited


def _readings(
    registry: Registry,
    scorer: "Scorer",
    model: ModelRecord,
    pairs: Sequence[tuple[Direction, float]],
    image: ImageRecord,
    steps: int,
    cache: Cache,
) -> list[NDArray[np.float32]]:
    """The scorer's numbers of an image with each direction taken away, as it is, and with it added: [3, N] each."""
    import torch

    from flows.device.models import device

    keys = [
        content_id("readings", [ALGORITHM, one.id, strength, image.id, steps, scorer.id])
        for one, strength in pairs
    ]
    known = [cache.get(key) for key in keys]
    fresh = [k for k, values in enumerate(known) if values is None or values.shape != (3, len(scorer.names))]
    if fresh:
        shown = edits.shown(registry, model, image.id)
        signs = [[(pairs[k][0], sign * pairs[k][1])] for k in fresh for sign in (-1, 1)]
        changes = edits.edited(registry, shown, signs, steps)
        pictures = np.concatenate([shown.x[None], np.clip(shown.x + changes, -1, 1)])
        with torch.inference_mode():
            told = np.concatenate(
                [
                    scorer(part).float().cpu().numpy()
                    for part in torch.split(torch.from_numpy(pictures).to(device()), 2 * TOGETHER)
                ]
            )
        if not np.isfinite(told).all():
            raise ImageError(f"{image.name}: scorer {scorer.source} gives numbers that are not finite")
        for row, k in enumerate(fresh):
            read = np.stack([told[1 + 2 * row], told[0], told[2 + 2 * row]])
            cache.put(keys[k], read)
            known[k] = read
    return [np.asarray(values, np.float32) for values in known]


def _region(registry: Registry, direction: Direction) -> str:
    """The direction's region as it is asked for on another image, or empty where it is not known here."""
    if direction.scope == "dataset":
        return direction.roi
    sources = [one.source for one in registry.basis(direction.basis_id).rois if one.id == direction.roi_id]
    again = [one for one in sources if one.startswith(("box:", "segment:", "sam:"))]
    return f"{direction.roi}={again[0]}" if again else direction.roi


def _has(dataset: DatasetRecord, image: ImageRecord, model: ModelRecord, region: str) -> bool:
    """Whether an image has the region at the model's size; one whose region cannot be told counts."""
    from loco.folders import Folders
    from loco.rois.layouts import RoiSpec, resolve_roi

    spec = RoiSpec.parse(region)
    if spec.from_masks and spec.name not in dataset.rois:
        return True
    folders = Folders(Path(dataset.path), Path(dataset.masks) if dataset.masks else None)
    try:
        resolve_roi(spec, folders, image).fit(model.shape[1:])
    except RoiAbsent:
        return False
    except LocoError:
        return False
    return True


def _spread(registry: Registry, dataset: DatasetRecord) -> Iterator[ImageRecord]:
    """All images of the dataset, each once: first some that are spread over all of it, then the others in order."""
    count = registry.image_counts().get(dataset.name, 0)
    first = range(0, count, -(-count // SPREAD) or 1)
    for number in first:
        yield from registry.images(dataset, number, 1)
    for start in range(0, count, PAGE):
        page = registry.images(dataset, start, min(PAGE, count - start))
        yield from (image for number, image in enumerate(page, start) if number not in first)


def _strengths(
    registry: Registry, directions: Sequence[tuple[Direction, float | None]], share: float
) -> list[tuple[Direction, float]]:
    """Each direction's strength: as it was asked, else that share of what is recommended, or of what can be seen."""
    scored = registry.transfers([one.id for one, strength in directions if strength is None])
    return [
        (
            one,
            strength
            if strength is not None
            else share * ((scored[one.id].strength if one.id in scored else None) or suited_strength(one)),
        )
        for one, strength in directions
    ]
