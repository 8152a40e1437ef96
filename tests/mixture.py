"""The posterior mean of a mixture of low-rank Gaussians, in closed form: the paper's own theory as an oracle.

For x0 ~ sum_k p_k N(0, U_k' U_k) with orthonormal rows U_k [r_k, D] (LOCO Edit, Assumption 1; the U_k need not be
orthogonal to each other here) and x_t = sqrt(a) x0 + sqrt(1 - a) eps,

    E[x0 | x_t] = sqrt(a) sum_k w_k(x_t) U_k' U_k x_t,
    w_k ~ p_k (1 - a)^(r_k / 2) exp(a ||U_k x_t||^2 / (2 (1 - a))),

whose Jacobian is symmetric and of rank at most sum_k r_k (Theorem 1, Lemma 3).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loco.diffusion.schedule import Schedule
from tests.gaussian import cosine_schedule


class MixtureDenoiser:
    """Posterior mean of a mixture of Gaussians of rank r_k with equal weights; `bases` are U_k [r_k, C, H, W]."""

    def __init__(self, bases: Sequence[Tensor], schedule: Schedule | None = None) -> None:
        channels, height, width = bases[0].shape[1:]
        self.name = "mixture"
        self.shape = (channels, height, width)
        self.bases = [basis.flatten(1) for basis in bases]
        self.schedule = schedule or cosine_schedule()

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t."""
        a = self.schedule.at(t)
        flat = x_t.flatten(1)
        log_noise = math.log(1 - a)
        inside = [flat @ basis.T for basis in self.bases]
        logits = torch.stack(
            [
                # a U'U + (1 - a) I has determinant (1 - a)^(D - r), and D is the same for all.
                a * part.square().sum(dim=1) / (2 * (1 - a)) + part.shape[1] * log_noise / 2
                for part in inside
            ]
        )
        weights = logits.softmax(dim=0)
        means = [a**0.5 * part @ basis for part, basis in zip(inside, self.bases, strict=True)]
        return sum(
            (weight[:, None] * mean for weight, mean in zip(weights, means, strict=True)),
            torch.zeros_like(flat),
        ).view_as(x_t)
