"""Where the Jacobian is taken: the points x_t of an image at noise level t that a recipe asks for.

DDIM inversion gives a point whose noise e = (x_t - signal x0) / noise is too small and not white: on trained networks
its standard deviation is 0.65 to 0.8 where the network learnt 1, so the Jacobian there is not the one that theory
speaks of (docs/method.md, "Where J is taken"). With z white noise that the image's id seeds:

    inverted    signal x0 + noise e
    rescaled    signal x0 + noise e / rms(e)                      the same noise at the size that was learnt
    filled      signal x0 + noise (e + sqrt(1 - rms(e)^2) z)      what it lacks is filled up with white noise
    noised      signal x0 + noise z                               the paper's protocol; needs no inversion

`noised` and `filled` may be drawn several times (`draws`): J is then all their Jacobians as rows, over sqrt(draws), so
that J'MJ is the mean of theirs. Edits start at the inverted point whatever J is taken at, because its way down is what
leads back to the image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.diffusion.schedule import Schedule
from loco.ids import content_id
from loco.recipes import DiscoverRecipe


def needs_inversion(recipe: DiscoverRecipe) -> bool:
    """Whether the points of a recipe rest on an image's inversion."""
    return recipe.point != "noised"


def points(
    schedule: Schedule,
    x0: Tensor,
    recipe: DiscoverRecipe,
    image_ids: Sequence[str],
    inverted: Tensor | None = None,
) -> Tensor:
    """The points at which a recipe takes the Jacobians of images, [B, draws, C, H, W].

    Args:
        schedule: The model's.
        x0: The images as the model diffuses them (latents, for a latent model), [B, C, H, W].
        recipe: Says the level, the kind of point and the number of draws.
        image_ids: sha256 of each image file's bytes: they alone seed the noise, so that an image has the same noise
            with every model, level and seed, and draw k is the same however many there are.
        inverted: The images inverted to t, [B, C, H, W]; may be None where `needs_inversion` is False.

    Raises `ValueError` where `inverted` is missing.
    """
    signal, noise = schedule.signal(recipe.t), schedule.noise(recipe.t)
    if not needs_inversion(recipe):
        return signal * x0[:, None] + noise * white(x0, image_ids, recipe.draws)
    if inverted is None:
        raise ValueError(f"points of kind {recipe.point!r} rest on the inverted images; pass inverted=")
    if recipe.point == "inverted":
        return inverted[:, None]
    e = (inverted - signal * x0) / noise
    size = e.double().flatten(1).square().mean(dim=1).sqrt().to(e.dtype)[:, None, None, None]
    if recipe.point == "rescaled":
        return (signal * x0 + noise * e / size.clamp_min(1e-6))[:, None]
    lacking = (1 - size.square()).clamp_min(0).sqrt()[:, None]
    return (signal * x0 + noise * e)[:, None] + noise * lacking * white(x0, image_ids, recipe.draws)


def white(like: Tensor, image_ids: Sequence[str], draws: int) -> Tensor:
    """White noise of each image, [B, draws, C, H, W]: drawn on the CPU in float32, so the same on every device."""
    rows = [
        torch.stack([_draw(image_id, k, tuple(like.shape[1:])) for k in range(draws)])
        for image_id in image_ids
    ]
    return torch.stack(rows).to(like)


def _draw(image_id: str, number: int, shape: tuple[int, ...]) -> Tensor:
    seed = int(content_id("noise", [image_id, number]), 16) % 2**63
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
