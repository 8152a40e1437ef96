"""The posterior mean E[x0 | x_t] of a diffusion model: the one function that everything else is built on.

With x_t = s x0 + n eps (`loco.diffusion.schedule`), what a network predicts is turned into x0_hat by

    epsilon       x0_hat = (x_t - n eps) / s                        LOCO Edit, Eq. 2
    v_prediction  x0_hat = (s x_t - n v) / (s^2 + n^2)              Salimans & Ho, arXiv 2202.00512
    sample        x0_hat = the network's output
    flow          x0_hat = (x_t - n v) / (s + n)                    v = eps - x0: Lipman et al., arXiv 2210.02747

at the training step nearest to t. On the straight path s + n = 1, and the last is x_t - s v. A guided, prompted or
edited denoiser wraps a denoiser (`loco.diffusion.guidance`); a decoder stands behind one (`loco.diffusion.codec`).
"""

from typing import Protocol

from torch import Tensor

from loco.diffusion.schedule import Schedule

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")


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


def posterior_mean(x_t: Tensor, output: Tensor, signal: float, noise: float, prediction_type: str) -> Tensor:
    """x0_hat from a network's output [B, C, H, W].

    Raises ValueError for an unknown `prediction_type`, and for epsilon where no signal is left to divide by.
    """
    match prediction_type:
        case "epsilon":
            if signal == 0:
                raise ValueError(
                    "x0 cannot be told from epsilon where x_t holds no signal; choose a smaller t"
                )
            return (x_t - noise * output) / signal
        case "v_prediction":
            return (signal * x_t - noise * output) / (signal**2 + noise**2)
        case "sample":
            return output
        case "flow":
            return (x_t - noise * output) / (signal + noise)
    raise ValueError(f"prediction_type must be one of {', '.join(PREDICTIONS)}, found {prediction_type!r}")


def prediction(x_t: Tensor, x0_hat: Tensor, signal: float, noise: float, prediction_type: str) -> Tensor:
    """What a network of `prediction_type` says when its x0_hat is this one: the inverse of `posterior_mean`."""
    eps = (x_t - signal * x0_hat) / noise
    match prediction_type:
        case "epsilon":
            return eps
        case "v_prediction":
            return signal * eps - noise * x0_hat
        case "sample":
            return x0_hat
        case "flow":
            return eps - x0_hat
    raise ValueError(f"prediction_type must be one of {', '.join(PREDICTIONS)}, found {prediction_type!r}")
