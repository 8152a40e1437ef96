"""The mean change that directions make: over the first images of the dataset, the same for every chunk and runner.

Whoever needs it first measures it and leaves it in the home's cache.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from flows.score.regions import opener, regions_of
from loco.errors import LocoError
from loco.ids import content_id
from loco.images import to_model
from loco.recipes import ALGORITHM
from registry.files.cache import Cache
from registry.records import ImageRecord

if TYPE_CHECKING:
    from torch import Tensor

    from flows.score.chunk import ScoreChunk
    from loco.diffusion.denoiser import Denoiser
    from loco.inversion import InversionPath

IMAGES = 16
"""Images that a mean change is taken over."""

_BATCH = 8


def number_of(images: Sequence[ImageRecord]) -> float:
    """A number that stands for a set of images: what figures can hold."""
    return float(int(content_id("reference", [one.id for one in images])[:12], 16))


@dataclass(frozen=True)
class Reference:
    """Sums over images of the unit changes M J v / ||M J v|| of each direction, [k, 3, H, W], and whose they are."""

    sums: "Tensor"
    images: frozenset[str]

    def others(self, k: int, image_id: str, own: "Tensor") -> "Tensor":
        """The sum over the other images than this one, whose own unit change is given."""
        return self.sums[k] - own if image_id in self.images else self.sums[k]


Inverted = Callable[["Tensor", Sequence[str]], "InversionPath"]
"""Images [B, 3, H, W] and their ids to their complete paths."""


def reference_of(
    chunk: "ScoreChunk",
    denoiser: "Denoiser",
    vectors: "Tensor",
    inverted: Inverted,
    cache: Cache,
    progress: Callable[[int], None],
) -> Reference:
    """The chunk's reference, from the cache or measured; images of it that cannot be read are left out."""
    import torch

    from loco.measure.transfer import mask_of, responses, unit_change

    ids = frozenset(one.id for one in chunk.reference)
    key = content_id("mean change", [*_asked(chunk), list(chunk.rois), sorted(ids)])
    held = cache.get(key)
    if held is not None and len(held) == len(vectors):
        return Reference(torch.from_numpy(held).to(vectors), ids)
    sums: Tensor | None = None
    for start in range(0, len(chunk.reference), _BATCH):
        pictures, regions = [], []
        for image in chunk.reference[start : start + _BATCH]:
            look = opener(chunk, image)
            found = regions_of(chunk, image, range(len(vectors)), look)
            with contextlib.suppress(LocoError):  # named where it is scored
                if found.there:
                    pictures.append(look())
                    regions.append(found.there)
        if not pictures:
            continue
        x0 = torch.stack([torch.from_numpy(to_model(one.pixels, chunk.model.shape[1:])) for one in pictures])
        path = inverted(x0, [one.id for one in pictures])
        felt = responses(denoiser, path, vectors, progress)
        sums = torch.zeros_like(felt[0]) if sums is None else sums
        for picture, one in zip(pictures, felt, strict=True):
            cache.put(_response(chunk, picture.id), one.cpu().numpy())
        for row, there in enumerate(regions):
            for k, roi in there.items():
                sums[k] += unit_change(felt[row, k], mask_of(roi, felt[row, k]))
    if sums is None:
        return Reference(vectors.new_zeros((len(vectors), 1, 1, 1)), frozenset())
    cache.put(key, sums.cpu().numpy())
    return Reference(sums, ids)


def held_responses(chunk: "ScoreChunk", image_id: str, cache: Cache) -> NDArray[Any] | None:
    """J v of all directions at an image of the reference, [k, 3, H, W], where it was measured and kept."""
    if image_id not in {one.id for one in chunk.reference}:
        return None
    held = cache.get(_response(chunk, image_id))
    return held if held is not None and len(held) == len(chunk.directions) else None


def _response(chunk: "ScoreChunk", image_id: str) -> str:
    return content_id("responses", [*_asked(chunk), image_id])


def _asked(chunk: "ScoreChunk") -> list[object]:
    return [ALGORITHM, [one.id for one in chunk.directions], chunk.steps]
