"""EDM's preconditioning (Karras et al., arXiv 2206.00364, Table 1 and Eq. 7).

In EDM's own coordinates y = x0 + sigma eps the posterior mean is

    D(y) = c_skip y + c_out F(c_in y; ln(sigma) / 4),
    c_skip = d^2 / (sigma^2 + d^2),  c_out = sigma d / sqrt(sigma^2 + d^2),  c_in = 1 / sqrt(sigma^2 + d^2),

with d the standard deviation of the data. Here x_t = y / sqrt(1 + sigma^2), which is variance-preserving with
alpha_bar = 1 / (1 + sigma^2): strengths mean what they mean for every other model, and finite differences keep
their accuracy.

Schedulers of k-diffusion with a continuous clock (CosXL) are the same with d = 1. A consistency model (Song et al.,
arXiv 2303.01469, Eq. 5 with Appendix C) has c_in as above, a clock 1000 times as fast, and

    c_skip = d^2 / ((sigma - sigma_min)^2 + d^2),   c_out = (sigma - sigma_min) d / sqrt(sigma^2 + d^2);

its x0_hat is the end of the probability flow through x_t, which is not the posterior mean but plays its part here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from loco.diffusion.schedule import Schedule
from loco.errors import ModelError


def edm_sigmas(noise: dict[str, Any], steps: int) -> Tensor:
    """sigma [T] float64, rising, of a scheduler's configuration; raises `ModelError` for numbers that are none."""
    try:
        low, high = float(noise.get("sigma_min", 0.002)), float(noise.get("sigma_max", 80.0))
        rho, kind = float(noise.get("rho", 7.0)), noise.get("sigma_schedule", "karras")
    except (TypeError, ValueError) as error:
        raise ModelError(f"an EDM schedule: expected numbers, found {error}") from error
    if not 0 < low < high or not rho > 0 or kind not in ("karras", "exponential") or steps < 2:
        raise ModelError(
            f"an EDM schedule: expected 0 < sigma_min < sigma_max, rho > 0 and karras or exponential, "
            f"found {low:g}, {high:g}, {rho:g} and {kind!r}"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    if kind == "exponential":
        return torch.tensor(low, dtype=torch.float64) * (high / low) ** ramp
    return torch.lerp(
        torch.tensor(low ** (1 / rho), dtype=torch.float64),
        torch.tensor(high ** (1 / rho), dtype=torch.float64),
        ramp,
    ).pow(rho)


@dataclass(frozen=True)
class Preconditioned:
    """A network behind EDM's preconditioning.

    Attributes:
        name: Name of the schedule.
        sigmas: [T] float64, rising.
        data: Standard deviation of the data, EDM's sigma_data.
        prediction_type: `epsilon`, or `v_prediction`, which turns the sign of the network's output.
    """

    name: str
    sigmas: Tensor
    data: float
    prediction_type: str

    @cached_property
    def schedule(self) -> Schedule:
        """alpha_bar = 1 / (1 + sigma^2)."""
        return Schedule(self.name, 1 / (1 + self.sigmas**2))

    def time(self, t: float) -> Tensor:
        """ln(sigma) / 4."""
        return self.sigmas[self.schedule.step(t)].log() / 4

    def network_input(self, x_t: Tensor, t: float) -> Tensor:
        """c_in y."""
        sigma = self._sigma(t)
        return x_t * ((1 + sigma**2) / (sigma**2 + self.data**2)) ** 0.5

    def posterior_mean(self, x_t: Tensor, output: Tensor, t: float) -> Tensor:
        """c_skip y + c_out F."""
        sigma = self._sigma(t)
        total = sigma**2 + self.data**2
        sign = -1 if self.prediction_type == "v_prediction" else 1
        return (
            self.data**2 / total * (1 + sigma**2) ** 0.5 * x_t
            + sign * sigma * self.data / total**0.5 * output
        )

    def _sigma(self, t: float) -> float:
        return float(self.sigmas[self.schedule.step(t)])


@dataclass(frozen=True)
class Consistent(Preconditioned):
    """A consistency model's network; its x0_hat is the end of the flow."""

    def time(self, t: float) -> Tensor:
        """250 ln(sigma)."""
        return 1000 * super().time(t)

    def posterior_mean(self, x_t: Tensor, output: Tensor, t: float) -> Tensor:
        """c_skip y + c_out F."""
        sigma, least = self._sigma(t), float(self.sigmas[0])
        skip = self.data**2 / ((sigma - least) ** 2 + self.data**2)
        out = (sigma - least) * self.data / (sigma**2 + self.data**2) ** 0.5
        return skip * (1 + sigma**2) ** 0.5 * x_t + out * output
