"""Deterministic solvers in both directions: DDIM, and DPM-Solver++ of second order, over one grid of levels.

With m the posterior mean at (x_s, s), and signal and noise as the schedule has them for any Gaussian path, a step from
level s to level r is

    x_r = keep x_s + (signal(r) - keep signal(s)) D,    keep = noise(r) / noise(s),

with D = m for order 1, which is DDIM with eta = 0 (Song et al., arXiv 2010.02502, Eq. 12), and on the straight path of
flow matching Euler's step x_r = x_s + (r - s) v; and, with h the step in log(signal / noise),

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
    signal, noise = [schedule.signal(one) for one in levels], [schedule.noise(one) for one in levels]
    found = []
    for k in range(len(levels) - 1):
        keep = noise[k + 1] / noise[k]
        whole = signal[k + 1] - keep * signal[k]
        extra = 0.0
        if order == 2 and k and min(signal[k - 1 : k + 2]) > 0:  # pure noise has no log(signal / noise)
            before, here, there = (math.log(signal[j] / noise[j]) for j in (k - 1, k, k + 1))
            extra = whole * (there - here) / (2 * (here - before))
        found.append(Step(levels[k], keep, whole + extra, -extra))
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
    """x_t [B, C, H, W] at noise level t for x0 [B, C, H, W]; `steps` evaluations an image. The reverse of `sample`.

    Both are in what the model diffuses, for a latent model its latents. `loco.inversion.invert` takes images.
    """
    return _follow(denoiser, x0, denoiser.schedule.grid(t, steps), progress, order)


def sample(
    denoiser: Denoiser, x_t: Tensor, t: float, steps: int, progress: Progress | None = None, order: int = 1
) -> Tensor:
    """x0 [B, C, H, W] for x_t [B, C, H, W] at noise level t; `steps` evaluations an image. Not clipped."""
    return _follow(denoiser, x_t, denoiser.schedule.grid(t, steps)[::-1], progress, order)


def sample_from(
    denoiser: Denoiser, x: Tensor, start: float, end: float, steps: int, progress: Progress | None = None
) -> Tensor:
    """x [B, C, H, W] at level `start` followed down to level `end`: from a seed's noise (1) to x_t, for one."""
    schedule = denoiser.schedule
    marks = torch.linspace(schedule.step(end), schedule.step(start), steps + 1, dtype=torch.float64)
    levels = [schedule.level(mark) for mark in marks.round().long().unique().tolist()]
    return _follow(denoiser, x, levels[::-1], progress, order=1)


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
