"""The posterior mean E[x0 | x_t] of a diffusion model: the one function that everything else is built on.

    epsilon       x0_hat = (x_t - sqrt(1 - a) eps) / sqrt(a)        LOCO Edit, Eq. 2
    v_prediction  x0_hat = sqrt(a) x_t - sqrt(1 - a) v              Salimans & Ho, arXiv 2202.00512
    sample        x0_hat = the network's output

with a = alpha_bar at the training step nearest to t. A guided, prompted or decoding denoiser wraps a denoiser.
"""

from typing import Protocol

from torch import Tensor

from loco.diffusion.schedule import Schedule


class Denoiser(Protocol):
    """A posterior mean with its schedule.

    Attributes:
        name: What people call it.
        shape: (C, H, W) of x_t.
        schedule: The noise schedule it was trained under.
    """

    name: str
    shape: tuple[int, int, int]
    schedule: Schedule

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t in [0, 1], items independent of each other."""


def posterior_mean(x_t: Tensor, output: Tensor, alpha_bar: float, prediction_type: str) -> Tensor:
    """x0_hat from a network's output [B, C, H, W]; ValueError for an unknown `prediction_type`."""
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    match prediction_type:
        case "epsilon":
            return (x_t - noise * output) / signal
        case "v_prediction":
            return signal * x_t - noise * output
        case "sample":
            return output
    raise ValueError(f"prediction_type must be epsilon, v_prediction or sample, found {prediction_type!r}")
