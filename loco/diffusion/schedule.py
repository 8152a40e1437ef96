"""Noise schedules: x_t = signal(t) x0 + noise(t) eps, for every Gaussian path.

Each such path is a variance-preserving one times a scale,

    signal = scale sqrt(alpha_bar),   noise = scale sqrt(1 - alpha_bar),   alpha_bar = signal^2 / (signal^2 + noise^2),

so that one description serves them all: scale is 1 for diffusion (Ho et al., arXiv 2006.11239), and for the straight
path of flow matching, x_t = (1 - s) x0 + s eps (Lipman et al., arXiv 2210.02747), it is sqrt((1 - s)^2 + s^2).

t in [0, 1] is the noise level as a fraction of the training steps, as in the paper; the network only knows whole
training steps, so t always means its nearest one, and that step is recorded with every direction.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from loco.errors import InputError
from loco.levels import t_of, wanted


@dataclass(frozen=True)
class Schedule:
    """One entry for each training step; and the schedule's name.

    Attributes:
        name: What people call it.
        alpha_bar: [T] float64 on the CPU, decreasing in [0, 1].
        scale: [T] float64 on the CPU, positive; None for 1 throughout.
    """

    name: str
    alpha_bar: Tensor
    scale: Tensor | None = None

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

    def nearest(self, level: str) -> float:
        """The t in (0, 1) of a level said as `snr:X`, `logsnr:X` or `abar:X`; see `loco.levels`.

        Raises `InputError` for what is no such text, or beyond the schedule.
        """
        found = wanted(level)
        if found is None:
            raise InputError(
                f"expected a level such as snr:0.5, logsnr:-0.7 or abar:0.33, found {level!r:.80}"
            )
        return t_of(found, self.alpha_bar.numpy(), f"the {self.name} schedule")

    def signal(self, t: float) -> float:
        """The factor of x0 in x_t."""
        return self._scale(t) * self.at(t) ** 0.5

    def noise(self, t: float) -> float:
        """The factor of eps in x_t: its standard deviation about signal(t) x0."""
        return self._scale(t) * (1 - self.at(t)) ** 0.5

    def _scale(self, t: float) -> float:
        return 1.0 if self.scale is None else float(self.scale[self.step(t)])

    def grid(self, t: float, steps: int) -> list[float]:
        """Levels from the cleanest (first) to t (last), `steps` intervals or as many as there are training steps."""
        last = self.step(t)
        marks = torch.linspace(0, last, steps + 1, dtype=torch.float64).round().long().unique().tolist()
        return [self.level(mark) for mark in marks]


def straight_path(train_steps: int = 1000) -> Schedule:
    """Flow matching: x_t = (1 - s) x0 + s eps with s = 1 / T, 2 / T, ..., 1."""
    s = (torch.arange(train_steps, dtype=torch.float64) + 1) / train_steps
    scale = ((1 - s) ** 2 + s**2).sqrt()
    return Schedule("straight", ((1 - s) / scale) ** 2, scale)
