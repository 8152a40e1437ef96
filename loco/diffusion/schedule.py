"""Noise schedules: x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.

t in [0, 1] is the noise level as a fraction of the training steps, as in the paper; the network only knows whole
training steps, so t always means its nearest one, and that step is recorded with every direction.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """alpha_bar [T] float64 on the CPU, decreasing in (0, 1], one entry for each training step; and its name."""

    name: str
    alpha_bar: Tensor

    @property
    def train_steps(self) -> int:
        """T, the number of training steps."""
        return len(self.alpha_bar)

    def step(self, t: float) -> int:
        """The training step nearest to t in [0, 1]: 0 for the cleanest level, T - 1 for pure noise."""
        if not 0 <= t <= 1:
            raise ValueError(f"t must lie in [0, 1], found {t!r}")
        return round(t * (self.train_steps - 1))

    def level(self, step: int) -> float:
        """The t of a training step; `step(level(s)) == s`."""
        return step / (self.train_steps - 1)

    def at(self, t: float) -> float:
        """alpha_bar at the training step nearest to t."""
        return float(self.alpha_bar[self.step(t)])

    def grid(self, t: float, steps: int) -> list[float]:
        """Levels from the cleanest (first) to t (last), `steps` intervals or as many as there are training steps."""
        last = self.step(t)
        marks = torch.linspace(0, last, steps + 1, dtype=torch.float64).round().long().unique().tolist()
        return [self.level(mark) for mark in marks]
