"""Deterministic solvers in both directions: DDIM, and DPM-Solver++ of second order, over one grid of levels.

With m the posterior mean at (x_s, s) and lambda = log(sqrt(a) / sqrt(1 - a)), a step from level s to level r, whose
lambda is greater by h, is

    x_r = sqrt(1 - a_r) / sqrt(1 - a_s) x_s - sqrt(a_r) (exp(-h) - 1) D

with D = m for order 1, which is DDIM with eta = 0 (Song et al., arXiv 2010.02502, Eq. 12), and

    D = m + (m - m_before) h / (2 h_before)

for order 2, the multistep DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, Algorithm 2); its first step is of order 1.
One evaluation a step either way. h may be negative: inversion goes straight from the image to t, sampling straight
from t to the image. A detour over pure noise would cost more than twice the evaluations and end on another level.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.diffusion.denoiser import Denoiser
from loco.diffusion.schedule import Schedule

Progress = Callable[[int], None]
"""Told the number of network evaluations, in single images, that have just been made."""

SOLVERS = {"ddim": 1, "dpm2": 2}
"""Solver -> its order."""


@dataclass(frozen=True)
class Step:
    """One step of a linear multistep solver: x' = keep x + now m + before m_before, with m evaluated at `level`."""

    level: float
    keep: float
    now: float
    before: float


def steps_of(schedule: Schedule, levels: Sequence[float], order: int = 1) -> list[Step]:
    """The steps along `levels`, upwards or downwards; raises `ValueError` for an order other than 1 and 2."""
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, found {order!r}")
    signal = [math.sqrt(schedule.at(level)) for level in levels]
    noise = [math.sqrt(1 - schedule.at(level)) for level in levels]
    ratio = [math.log(a / b) for a, b in zip(signal, noise, strict=True)]
    found = []
    for k in range(len(levels) - 1):
        h = ratio[k + 1] - ratio[k]
        whole = -signal[k + 1] * math.expm1(-h)
        extra = whole * h / (2 * (ratio[k] - ratio[k - 1])) if order == 2 and k else 0.0
        found.append(Step(levels[k], noise[k + 1] / noise[k], whole + extra, -extra))
    return found


def advance(step: Step, x: Tensor, mean: Tensor, before: Tensor | None) -> Tensor:
    """x at the step's end, for x, the posterior mean there, and the one a step before (None in the first step).

    It is linear in all three together, so the difference of two paths obeys it as well as each path.
    """
    moved = step.keep * x + step.now * mean
    return moved if before is None or step.before == 0 else moved + step.before * before


def invert(
    denoiser: Denoiser, x0: Tensor, t: float, steps: int, progress: Progress | None = None, order: int = 1
) -> Tensor:
    """x_t [B, C, H, W] for images x0 [B, C, H, W] in [-1, 1], at noise level t; `steps` evaluations an image."""
    return _follow(denoiser, x0, denoiser.schedule.grid(t, steps), progress, order)


def sample(
    denoiser: Denoiser, x_t: Tensor, t: float, steps: int, progress: Progress | None = None, order: int = 1
) -> Tensor:
    """Images [B, C, H, W] for x_t [B, C, H, W] at noise level t; `steps` evaluations an image. Not clipped."""
    return _follow(denoiser, x_t, denoiser.schedule.grid(t, steps)[::-1], progress, order)


def _follow(
    denoiser: Denoiser, x: Tensor, levels: Sequence[float], progress: Progress | None, order: int
) -> Tensor:
    before: Tensor | None = None
    with torch.no_grad():
        for step in steps_of(denoiser.schedule, levels, order):
            mean = denoiser.posterior_mean(x, step.level)
            x, before = advance(step, x, mean, before), mean
            if progress is not None:
                progress(len(x))
    return x
