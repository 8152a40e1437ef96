"""What directions do to one image, at the model's size: first order at once, exactly by the way down; by the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.register import model_for
from loco.direction import Direction
from loco.errors import ImageError, InputError
from loco.ids import content_id
from loco.recipes import EditRecipe
from registry.files.cache import Cache
from registry.records import ModelRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.diffusion.denoiser import Denoiser
    from loco.inversion import InversionPath

STEPS = 10
"""Solver steps each way: enough for the change; the input is kept exactly whatever the steps are."""

Mixture = Sequence[tuple[Direction, float]]
"""Directions of one model and level, each with its strength."""


@dataclass(frozen=True, eq=False)
class Shown:
    """An image as a model sees it: sha256 of its file, its name, and [3, h, w] in [-1, 1]."""

    id: str
    name: str
    x: NDArray[np.float32]


def shown(registry: Registry, model: ModelRecord, image_id: str) -> Shown:
    """An image of any dataset by its sha256; raises `ImageError` where none has it or its file changed."""
    from loco.folders import open_image

    places = registry.places(image_id)
    if not places:
        raise ImageError(f"image {image_id[:12]} is in no dataset; add its folder with `loco dataset add`")
    trouble: ImageError | None = None
    for _, root, name in places:
        try:
            return of_pixels(model, image_id, name, open_image(Path(root), name, image_id).pixels)
        except ImageError as error:
            trouble = error
    assert trouble is not None
    raise trouble


def uploaded(model: ModelRecord, data: bytes, name: str) -> Shown:
    """An image in the bytes of a file, by the one opener; raises `ImageError`."""
    from loco.images import picture_of

    picture = picture_of(data, name, name)
    return of_pixels(model, picture.id, name, picture.pixels)


def of_pixels(model: ModelRecord, image_id: str, name: str, pixels: NDArray[np.uint8]) -> Shown:
    """Pixels as the model sees them."""
    from loco.images import to_model

    return Shown(image_id, name, to_model(pixels, model.shape[1:]))


def edited(
    registry: Registry, image: Shown, mixtures: Sequence[Mixture], steps: int = STEPS
) -> NDArray[np.float32]:
    """What each mixture changes, [k, 3, h, w], by the whole way down; as `loco apply` with as many steps."""
    import torch

    from loco.edit import change, combine
    from loco.inversion import joined

    denoiser, path = _path(registry, [image], _all(mixtures), steps)
    given = _vectors(registry, mixtures)
    moves = torch.stack(
        [
            combine(torch.stack([given[one.id] for one, _ in mixture]), [s for _, s in mixture])
            for mixture in mixtures
        ]
    ).to(path.x_t)
    found = change(denoiser, joined([path] * len(mixtures)), moves)
    return found.float().cpu().numpy()


def responses(
    registry: Registry, images: Sequence[Shown], directions: Sequence[Direction], steps: int = STEPS
) -> NDArray[np.float32]:
    """J v of each direction on each image, [images, directions, 3, h, w]: the change of one unit of strength."""
    from loco.edit import first_order

    denoiser, path = _path(registry, images, directions, steps)
    given = _vectors(registry, [[(one, 1.0)] for one in directions])
    found = [first_order(denoiser, path, given[one.id].to(path.x_t)) for one in directions]
    return np.stack([one.float().cpu().numpy() for one in found], axis=1)


def kept_responses(
    registry: Registry, image: Shown, directions: Sequence[Direction], steps: int = STEPS
) -> list[NDArray[np.float32]]:
    """J v of each direction on one image, [3, h, w], from the cache where it is there."""
    cache = Cache(registry.home)
    keys = [content_id("response", [1, steps, one.id, image.id]) for one in directions]
    found = [cache.get(key) for key in keys]
    fresh = [number for number, one in enumerate(found) if one is None or one.shape != image.x.shape]
    if fresh:
        made = responses(registry, [image], [directions[number] for number in fresh], steps)[0]
        for number, one in zip(fresh, made, strict=True):
            found[number] = one
            cache.put(keys[number], one)
    return [np.asarray(one, np.float32) for one in found]


def _all(mixtures: Sequence[Mixture]) -> list[Direction]:
    return [one for mixture in mixtures for one, _ in mixture]


def _vectors(registry: Registry, mixtures: Sequence[Mixture]) -> dict[str, Any]:
    import torch

    wanted = {one.id: one for one in _all(mixtures)}
    return dict(zip(wanted, torch.from_numpy(registry.vectors([*wanted.values()])), strict=True))


def _path(
    registry: Registry, images: Sequence[Shown], directions: Sequence[Direction], steps: int
) -> "tuple[Denoiser, InversionPath]":
    """The denoiser, told the directions' own words, and the images' paths to the directions' level."""
    import torch

    from flows.device.inversions import inverted
    from flows.device.models import device, open_fast
    from loco.diffusion.guidance import under
    from loco.inversion import Grid

    first = directions[0]
    for other in directions[1:]:
        if (other.model, other.t, other.prompt) != (first.model, first.t, first.prompt):
            raise InputError(
                f"directions {first.short} and {other.short} are of different models, noise levels or words: "
                f"only those of one can be shown together"
            )
    model = model_for(registry, first)
    words: dict[str, Any] = {}
    if first.prompt:
        found = registry.basis(first.basis_id).recipe
        words = {"prompt": found.prompt, "negative": found.negative, "guidance": found.guidance}
    recipe = EditRecipe(first.t, ((first.id, 1.0),), steps, **words)
    denoiser, grid = under(open_fast(model, "float32"), recipe), Grid.of(recipe)
    x0 = torch.from_numpy(np.stack([one.x for one in images])).to(device())
    keys = [grid.key(model.id, model.train_steps, one.id, recipe) for one in images]
    with torch.no_grad():
        return denoiser, inverted(denoiser, x0, grid, keys, Cache(registry.home))
