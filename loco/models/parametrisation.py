"""How a network is asked and what its answer means: its schedule, its clock, and x0_hat from its output."""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from loco.diffusion.denoiser import posterior_mean
from loco.diffusion.schedule import Schedule, straight_path
from loco.errors import ModelError
from loco.models.card import ModelCard
from loco.models.edm import Consistent, Preconditioned, edm_sigmas
from loco.models.layout import read_json
from loco.models.noise import EDM, LEVELS, by_betas


class Parametrisation(Protocol):
    """From x_t to the network's input, and from its output to x0_hat."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""

    def time(self, t: float) -> Tensor:
        """What the network is told of t, a number on the CPU."""

    def network_input(self, x_t: Tensor, t: float) -> Tensor:
        """What the network is shown of x_t [B, C, H, W]."""

    def posterior_mean(self, x_t: Tensor, output: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] from the network's output of the same shape."""


@dataclass(frozen=True)
class Direct:
    """The network is shown x_t and predicts epsilon, v, x0 or the flow's velocity.

    Attributes:
        schedule: The noise schedule.
        prediction_type: One of `loco.diffusion.denoiser.PREDICTIONS`.
        clock: [T], what the network is told at each training step.
    """

    schedule: Schedule
    prediction_type: str
    clock: Tensor

    def time(self, t: float) -> Tensor:
        """The clock at the step nearest to t."""
        return self.clock[self.schedule.step(t)]

    def network_input(self, x_t: Tensor, t: float) -> Tensor:
        """x_t as it is."""
        return x_t

    def posterior_mean(self, x_t: Tensor, output: Tensor, t: float) -> Tensor:
        """x0_hat; see `loco.diffusion.denoiser`."""
        signal, noise = self.schedule.signal(t), self.schedule.noise(t)
        return posterior_mean(x_t, output, signal, noise, self.prediction_type)


_STAND_INS = {
    "LMSDiscreteScheduler": "EulerDiscreteScheduler",
    "DPMSolverSDEScheduler": "KDPM2DiscreteScheduler",
}
"""Classes that want a library only to draw samples, and one with the same alpha_bar and defaults."""


def read_parametrisation(card: ModelCard) -> Parametrisation:
    """The parametrisation of a model folder; raises `ModelError` for a schedule that is none."""
    noise = read_json(card.place("scheduler") / "scheduler_config.json", card.folder, "the noise schedule")
    steps = card.train_steps
    if card.prediction_type == "flow":
        # The schedule's shift only says where samplers put their steps: the path, and so x0_hat, is the same.
        return Direct(
            straight_path(steps), "flow", (torch.arange(steps, dtype=torch.float64) + 1) / steps * steps
        )
    if card.prediction_type == "consistency":
        return Consistent(
            card.schedule, edm_sigmas(noise, steps), float(noise.get("sigma_data", 0.5)), "consistency"
        )
    if card.prediction_type.startswith("edm-"):
        return _preconditioned(card, noise)
    alpha_bar = _alpha_bar(card, noise)
    if card.prediction_type == "epsilon" and float(alpha_bar[-1]) == 0:
        raise ModelError(
            f"model folder {card.folder}: its schedule ends without any signal, where x0 cannot be told from epsilon"
        )
    clock = torch.arange(steps)
    if noise.get("rescale_timesteps"):  # improved diffusion: told as if there were 1000 steps
        clock = clock.double() * (1000 / steps)
    return Direct(Schedule(card.schedule, alpha_bar), card.prediction_type, clock)


def _preconditioned(card: ModelCard, noise: dict[str, Any]) -> Preconditioned:
    kind = card.prediction_type.removeprefix("edm-")
    if noise.get("_class_name") in EDM:
        return Preconditioned(
            card.schedule, edm_sigmas(noise, card.train_steps), float(noise.get("sigma_data", 0.5)), kind
        )
    if by_betas(noise):
        alpha_bar = _alpha_bar(card, noise)
        sigmas = ((1 - alpha_bar) / alpha_bar.clamp_min(1e-12)).sqrt()
    else:
        way = "exponential" if noise.get("use_exponential_sigmas") else "karras"
        sigmas = edm_sigmas(noise | {"sigma_schedule": way, "rho": 7.0}, card.train_steps)
    return Preconditioned(card.schedule, sigmas, 1.0, kind)


def _alpha_bar(card: ModelCard, noise: dict[str, Any]) -> Tensor:
    import diffusers

    name = noise.get("_class_name", "DDPMScheduler")
    scheduler = getattr(diffusers, _STAND_INS.get(name, name))
    wanted = {
        k: v
        for k, v in noise.items()
        if k.startswith("beta") or (k in LEVELS and k not in ("timestep_type", "rescale_timesteps"))
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # some classes use NumPy as it was
            alpha_bar: Tensor = scheduler.from_config(wanted).alphas_cumprod.double()
    except (ValueError, TypeError, NotImplementedError, RuntimeError, ImportError) as error:
        raise ModelError(f"model folder {card.folder}: its noise schedule is none: {error}") from error
    sound = (
        len(alpha_bar) == card.train_steps > 1
        and bool(alpha_bar.isfinite().all())
        and bool((alpha_bar.diff() <= 0).all())
        and float(alpha_bar[0]) < 1
        and float(alpha_bar[-1]) >= 0
    )
    if not sound:
        raise ModelError(
            f"model folder {card.folder}: expected alpha_bar to fall from below 1 to 0 or more, found another schedule"
        )
    return alpha_bar
