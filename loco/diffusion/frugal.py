"""A denoiser that needs less memory than the one it wraps: fewer images at a time, and no activations kept.

What a batch yields does not depend on how it is cut, because a denoiser's items are independent of each other. With a
derivative to follow, each part is computed again on the way back (Chen et al., arXiv 1604.06174): about one evaluation
more for each, and the memory of one part.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from loco.diffusion.codec import Codec, codec_of
from loco.diffusion.denoiser import Denoiser


class FrugalDenoiser:
    """The posterior mean of `denoiser`, at most `most` images at a time."""

    def __init__(self, denoiser: Denoiser, most: int) -> None:
        self.denoiser, self.most = denoiser, most
        self.name, self.shape, self.schedule = denoiser.name, denoiser.shape, denoiser.schedule
        self.codec: Codec = codec_of(denoiser)

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t; see `loco.diffusion.denoiser`."""
        follow = torch.is_grad_enabled() and x_t.requires_grad
        parts = [
            checkpoint(self.denoiser.posterior_mean, part, t, use_reentrant=False)
            if follow
            else self.denoiser.posterior_mean(part, t)
            for part in x_t.split(self.most)
        ]
        return torch.cat(parts)
