"""Inversion paths of images: from the home's cache where they are there, else computed together and left there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import Progress
from loco.inversion import Grid, InversionPath, invert, joined, restore
from registry.files.cache import Cache


def inverted(
    denoiser: Denoiser,
    images: Tensor,
    grid: Grid,
    keys: Sequence[str],
    cache: Cache,
    progress: Progress | None = None,
) -> InversionPath:
    """The complete paths of images [B, 3, H, W] in [-1, 1], in their order; `keys` are their ids in the cache."""
    held = [cache.get(key) for key in keys]
    fresh = [row for row, means in enumerate(held) if means is None]
    paths: dict[int, InversionPath] = {}
    if fresh:
        whole = invert(denoiser, images[fresh], grid.t, grid.steps, progress, grid.order)
        paths |= {row: whole[k : k + 1] for k, row in enumerate(fresh)}
    for row, means in enumerate(held):
        if means is not None:
            known = torch.from_numpy(means)[None].to(images.device, images.dtype)
            paths[row] = restore(denoiser, images[row : row + 1], known, grid, progress)
    for row, key in enumerate(keys):
        found, known_means = paths[row].means[0], held[row]
        if known_means is None or len(found) > len(known_means):
            cache.put(key, found.cpu().numpy())
    return joined([paths[row] for row in range(len(keys))])
