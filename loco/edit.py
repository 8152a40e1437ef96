"""The edit: x_t + sum of strength * v, denoised from t to 0 (LOCO Edit, Algorithm 1, step 7, and its composition).

What is returned is the *change* sample(x_t + d) - sample(x_t): added to the input it is the edited image, free of the
small error of inversion and sampling, and exactly the input where nothing was added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import Progress, invert, sample


@dataclass(frozen=True)
class Prepared:
    """Images ready to be edited, one network pass down and one up, shared by every edit of them.

    Attributes:
        x_t: [B, C, H, W] at noise level t.
        reconstruction: sample(x_t), decoded: images [B, 3, H, W].
        t: The noise level.
        steps: DDIM steps of both passes.
    """

    x_t: Tensor
    reconstruction: Tensor
    t: float
    steps: int


def prepare(
    denoiser: Denoiser, x0: Tensor, t: float, steps: int, progress: Progress | None = None
) -> Prepared:
    """Invert images x0 [B, 3, H, W] in [-1, 1] to t and reconstruct them."""
    codec = codec_of(denoiser)
    x_t = invert(denoiser, codec.encode(x0), t, steps, progress)
    return Prepared(x_t, codec.decode(sample(denoiser, x_t, t, steps, progress)), t, steps)


def combine(vectors: Tensor, strengths: Sequence[float]) -> Tensor:
    """Sum of strength_i * v_i, [C, H, W], for unit vectors [k, C, H, W]."""
    weights = torch.tensor(strengths, dtype=vectors.dtype, device=vectors.device)
    return torch.einsum("k,kchw->chw", weights, vectors)


def change(
    denoiser: Denoiser, prepared: Prepared, displacement: Tensor, progress: Progress | None = None
) -> Tensor:
    """What adding `displacement` [C, H, W] at t does to each image: [B, 3, H, W], in units of [-1, 1]."""
    if not bool(displacement.any()):
        return torch.zeros_like(prepared.reconstruction)
    edited = sample(denoiser, prepared.x_t + displacement, prepared.t, prepared.steps, progress)
    return codec_of(denoiser).decode(edited) - prepared.reconstruction
