"""The posterior mean of a Gaussian, in closed form: the oracle of the tests.

For x0 ~ N(mu, S) and x_t = sqrt(a) x0 + sqrt(1 - a) eps,

    E[x0 | x_t] = mu + J (x_t - sqrt(a) mu),    J = sqrt(a) S (a S + (1 - a) I)^-1,

which is linear, and symmetric because S commutes with itself. With S = sum_i w_i q_i q_i' the right singular vectors of
J are the q_i with values sqrt(a) w_i / (a w_i + 1 - a) (LOCO Edit, Lemma 3 and Theorem 1 for one component).
"""

import math

import torch
from torch import Tensor

from loco.diffusion.schedule import Schedule


def cosine_schedule(train_steps: int = 1000) -> Schedule:
    """The squared-cosine schedule (Nichol & Dhariwal, arXiv 2102.09672, Eq. 17) without its clipping of betas."""
    marks = (torch.arange(train_steps, dtype=torch.float64) + 1) / train_steps
    alpha_bar = torch.cos((marks + 0.008) / 1.008 * torch.pi / 2) ** 2
    return Schedule("cosine", (alpha_bar / math.cos(0.008 / 1.008 * math.pi / 2) ** 2).clamp_min(1e-5))


class GaussianDenoiser:
    """Posterior mean of N(mean [C, H, W], covariance [D, D])."""

    def __init__(self, mean: Tensor, covariance: Tensor, schedule: Schedule | None = None) -> None:
        channels, height, width = mean.shape
        self.name = "gaussian"
        self.shape = (channels, height, width)
        self.mean, self.covariance = mean, covariance
        self.schedule = schedule or cosine_schedule()

    def jacobian(self, t: float) -> Tensor:
        """J [D, D] at noise level t."""
        a = self.schedule.at(t)
        eye = torch.eye(len(self.covariance), dtype=self.covariance.dtype)
        return torch.linalg.solve(a * self.covariance + (1 - a) * eye, a**0.5 * self.covariance).T

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t."""
        centred = (x_t - self.schedule.at(t) ** 0.5 * self.mean).flatten(1)
        return self.mean + (centred @ self.jacobian(t).T).view_as(x_t)
