"""Directions toward a number of a scorer: v = J' M grad score(x0_hat), averaged over images.

The gradient of a scorer with regard to the predicted image, cut to a region's rows M and pulled back to x_t: of all
small moves of x_t that act in the region, the one along which the number grows fastest. J is nearly the projection on
what the model knows of images, so what no image has in it (the noise that fools a scorer) hardly survives; what is left
of it differs from image to image and averages out. Each image's pull counts as a unit vector.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Triplets
from loco.linalg.stacked import Stacked


def pulled_towards(
    operator: JacobianOperator | Stacked,
    f: Callable[[Tensor], Tensor],
    at: Tensor,
    masks: Sequence[Tensor | None],
    score: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """What one image pulls towards in each region: unit vectors [R, D], and how strongly the region follows, [R].

    Args:
        operator: J at the image's points, one after the other.
        f: x_t [K, C, H, W] to the predicted images [K, 3, H', W'] that are scored.
        at: The points.
        masks: Each region's rows of all points, [K M] bool; None for a region that the image lacks: zeros come then.
        score: Images to [K]; a gradient goes through.

    Raises `FloatingPointError` where the score has no finite gradient.
    """
    with torch.no_grad():
        images = f(at)
    with torch.enable_grad():
        shown = images.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(score(shown).sum(), shown)
    if not bool(torch.isfinite(slope).all()):
        raise FloatingPointError("the scorer's gradient is not finite")
    rows = [slope.flatten() * (0 if mask is None else mask) for mask in masks]
    pulled = operator.rmv(torch.nn.functional.normalize(torch.stack(rows), dim=1))
    return torch.nn.functional.normalize(pulled, dim=1), pulled.norm(dim=1)


def triplets_of(pulls: Tensor, lengths: Sequence[float]) -> list[Triplets]:
    """The mean pulls [R, D] as what a solver finds of each region: one vector, or none where there is no pull."""
    found = []
    for pull, length in zip(pulls, lengths, strict=True):
        kept = int(bool(pull.any()))
        right = torch.nn.functional.normalize(pull[None], dim=1)[:kept]
        value = pull.new_full((kept,), length)
        found.append(Triplets(value, right, torch.zeros_like(value), 0.0, True, length**2))
    return found
