"""Deterministic DDIM in both directions (Song et al., arXiv 2010.02502, Eq. 12 with eta = 0).

With x0_hat the posterior mean at (x_s, s) and eps = (x_s - signal(s) x0_hat) / noise(s), one step to level r is

    x_r = signal(r) x0_hat + noise(r) eps,

for any Gaussian path: on the straight path of flow matching it is Euler's step x_r = x_s + (r - s) v.

Inversion goes straight from the image to t, sampling straight from t to the image, over the same grid: a detour over
pure noise would cost more than twice the evaluations and end on another level.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from loco.diffusion.denoiser import Denoiser

Progress = Callable[[int], None]
"""Told the number of network evaluations, in single images, that have just been made."""


def invert(denoiser: Denoiser, x0: Tensor, t: float, steps: int, progress: Progress | None = None) -> Tensor:
    """x_t [B, C, H, W] for images x0 [B, C, H, W] in [-1, 1], at noise level t; `steps` evaluations an image."""
    return _follow(denoiser, x0, denoiser.schedule.grid(t, steps), progress)


def sample(denoiser: Denoiser, x_t: Tensor, t: float, steps: int, progress: Progress | None = None) -> Tensor:
    """Images [B, C, H, W] for x_t [B, C, H, W] at noise level t; `steps` evaluations an image. Not clipped."""
    return _follow(denoiser, x_t, denoiser.schedule.grid(t, steps)[::-1], progress)


def sample_from(
    denoiser: Denoiser, x: Tensor, start: float, end: float, steps: int, progress: Progress | None = None
) -> Tensor:
    """x [B, C, H, W] at level `start` followed down to level `end`: from a seed's noise (1) to x_t, for one."""
    schedule = denoiser.schedule
    marks = torch.linspace(schedule.step(end), schedule.step(start), steps + 1, dtype=torch.float64)
    levels = [schedule.level(mark) for mark in marks.round().long().unique().tolist()]
    return _follow(denoiser, x, levels[::-1], progress)


def _follow(denoiser: Denoiser, x: Tensor, levels: Sequence[float], progress: Progress | None) -> Tensor:
    schedule = denoiser.schedule
    with torch.no_grad():
        for here, there in pairwise(levels):
            x0_hat = denoiser.posterior_mean(x, here)
            eps = (x - schedule.signal(here) * x0_hat) / schedule.noise(here)
            x = schedule.signal(there) * x0_hat + schedule.noise(there) * eps
            if progress is not None:
                progress(len(x))
    return x
