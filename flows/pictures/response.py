"""How the images of a dataset respond to a direction: the first-order change of one unit of strength, kept."""

from dataclasses import dataclass

import numpy as np

from flows.pictures.edits import STEPS, Shown, responses, shown
from flows.register import model_for
from loco.direction import Direction
from loco.errors import ImageError, InputError
from loco.ids import content_id
from registry.files.cache import Cache
from registry.records import DatasetRecord
from registry.registry import Registry

LOOKED_AT = 48
"""Images of a dataset that are looked at: the first so many."""

_BATCH = 16


@dataclass(frozen=True)
class Response:
    """How one image responds: sha256, name, and the norm of J v there (its `gain`, outside included)."""

    id: str
    name: str
    gain: float


def ranked(registry: Registry, direction: Direction, dataset: DatasetRecord) -> list[Response]:
    """The dataset's first images that can be read, those that respond most first.

    Raises `InputError` where none can, `ModelError` for a model that cannot be opened.
    """
    images = registry.images(dataset, 0, LOOKED_AT)
    key = content_id("responses", [1, STEPS, direction.id, [one.id for one in images]])
    cache = Cache(registry.home)
    known = cache.get(key)
    if known is None or known.shape != (len(images),):
        known = _measured(registry, direction, [one.id for one in images])
        cache.put(key, known)
    found = [
        Response(one.id, one.name, float(gain))
        for one, gain in zip(images, known, strict=True)
        if np.isfinite(gain)
    ]
    if not found:
        raise InputError(f"dataset {dataset.name!r} has no image that can be read")
    return sorted(found, key=lambda one: (-one.gain, one.name))


def picked(found: list[Response]) -> tuple[Response, ...]:
    """Those that respond most, middling and hardly."""
    return tuple(dict.fromkeys((found[0], found[len(found) // 2], found[-1])))


def _measured(
    registry: Registry, direction: Direction, ids: list[str]
) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    model = model_for(registry, direction)
    gains = np.full(len(ids), np.nan, np.float32)
    for start in range(0, len(ids), _BATCH):
        batch: dict[int, Shown] = {}
        for row in range(start, min(start + _BATCH, len(ids))):
            try:
                batch[row] = shown(registry, model, ids[row])
            except ImageError:
                continue  # it is left out; `discover` names it
        if batch:
            found = responses(registry, [*batch.values()], [direction])[:, 0]
            gains[[*batch]] = np.sqrt((found.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    return gains
