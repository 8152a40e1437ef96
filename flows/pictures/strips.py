"""The strip of a direction: edits at -2s, -s, 0, s and 2s, where it changes, and the direction itself; kept by id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.pictures import drawing
from flows.pictures.drawing import Pixels
from flows.pictures.edits import STEPS, edited, shown
from flows.pictures.response import ranked
from flows.pictures.strength import recommended
from flows.register import model_for
from loco.direction import Basis, Direction
from loco.errors import ImageError, InputError, ModelError
from loco.ids import content_id
from registry.files import pictures
from registry.registry import Registry

LAYOUT = 1
"""Of what is drawn; grows when it changes."""

MULTIPLES = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Of the direction's strength, from left to right."""


@dataclass(frozen=True)
class Strip:
    """A picture of a direction.

    Attributes:
        key: Its id in the cache.
        data: A PNG.
        strengths: Those that are shown, from left to right; none where the edits could not be shown.
        alt: What is to be seen, in words.
        trouble: Why the edits could not be shown, or empty.
    """

    key: str
    data: bytes
    strengths: tuple[float, ...]
    alt: str
    trouble: str = ""


def strip(registry: Registry, direction: Direction, image_id: str | None = None) -> Strip:
    """The strip on the image of that sha256, by default its own; where there is none, its region and vector alone.

    Raises `StorageError` for a basis file that is missing or damaged.
    """
    try:
        image_id = image_id or example(registry, direction)
        return _edits(registry, direction, image_id)
    except (ImageError, ModelError, InputError) as error:
        return _alone(registry, direction, str(error))


def file_of(registry: Registry, made: Strip) -> Path:
    """Where a strip lies as a file."""
    return pictures.place(registry.home, made.key)


def kept(registry: Registry, direction: Direction) -> Path | None:
    """The file of a strip that was made before, on its own image or without; no network is opened for it."""
    strength = recommended(registry, direction)
    for key in (_key(direction, direction.image_id, strength), _key(direction, "alone", 0.0)):
        if pictures.get(registry.home, key) is not None:
            return pictures.place(registry.home, key)
    return None


def example(registry: Registry, direction: Direction) -> str:
    """sha256 of the image to show it on: its own, or of a dataset's direction the one that responds most."""
    if direction.scope == "image":
        return direction.image_id
    name = registry.basis(direction.basis_id).image_name
    return ranked(registry, direction, registry.dataset(name, pictured=False))[0].id


def _key(direction: Direction, image_id: str, strength: float) -> str:
    return content_id("picture", [LAYOUT, STEPS, drawing.SIDE, direction.id, image_id, strength])


def _edits(registry: Registry, direction: Direction, image_id: str) -> Strip:
    strength = recommended(registry, direction)
    strengths = tuple(strength * one for one in MULTIPLES)
    key = _key(direction, image_id, strength)
    told = ", ".join(f"{one:+g}" for one in strengths)
    alt = (
        f"{direction.roi} edited at strengths {told}, the region outlined at 0; where it changes; "
        f"the direction about gray"
    )
    known = pictures.get(registry.home, key)
    if known is None:
        known = drawing.png(drawing.row_of(_tiles(registry, direction, image_id, strengths)))
        pictures.put(registry.home, key, known)
    return Strip(key, known, strengths, alt)


def _tiles(
    registry: Registry, direction: Direction, image_id: str, strengths: tuple[float, ...]
) -> list[Pixels]:
    image = shown(registry, model_for(registry, direction), image_id)
    changes = edited(registry, image, [[(direction, one)] for one in strengths])
    basis = registry.basis(direction.basis_id)
    mask = _mask(basis, direction)
    tiles = [drawing.tile(drawing.pixels_of(image.x + one)) for one in changes]
    middle = strengths.index(0.0) if 0.0 in strengths else 0
    tiles[middle] = drawing.outlined(tiles[middle], mask)
    return [*tiles, drawing.tile(drawing.heat(changes[-2])), *_vector(basis, direction, tiles[0].shape[0])]


def _vector(basis: Basis, direction: Direction, side: int) -> list[Pixels]:
    """The direction itself, as high as the other tiles, whatever its own size (a latent's is smaller)."""
    return [_high(drawing.tile(drawing.about_gray(basis.vectors[direction.row]), side), side)]


def _high(pixels: Pixels, side: int) -> Pixels:
    if len(pixels) == side:
        return pixels
    rows = np.arange(side) * len(pixels) // side
    return pixels[rows]


def _mask(basis: Basis, direction: Direction) -> NDArray[np.bool_]:
    return next(one.mask for one in basis.rois if one.id == direction.roi_id)


def _alone(registry: Registry, direction: Direction, trouble: str) -> Strip:
    """Region and vector: what the basis file alone can show."""
    key = _key(direction, "alone", 0.0)
    known = pictures.get(registry.home, key)
    if known is None:
        basis = registry.basis(direction.basis_id)
        region = drawing.tile(drawing.shaded(_mask(basis, direction)))
        known = drawing.png(drawing.row_of([region, *_vector(basis, direction, len(region))]))
        pictures.put(registry.home, key, known)
    return Strip(key, known, (), f"the region {direction.roi}; the direction about gray", trouble)
