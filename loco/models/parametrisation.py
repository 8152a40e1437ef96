"""How a network is asked and what its answer means: its schedule, its clock, and x0_hat from its output."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from loco.diffusion.denoiser import posterior_mean
from loco.diffusion.schedule import Schedule, straight_path
from loco.errors import ModelError
from loco.models.card import ModelCard
from loco.models.edm import Preconditioned, edm_sigmas
from loco.models.layout import read_json


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


def read_parametrisation(card: ModelCard) -> Parametrisation:
    """The parametrisation of a model folder; raises `ModelError` for a schedule that is none."""
    noise = read_json(card.place("scheduler") / "scheduler_config.json", card.folder, "the noise schedule")
    steps = card.train_steps
    if card.prediction_type == "flow":
        # The schedule's shift only says where samplers put their steps: the path, and so x0_hat, is the same.
        return Direct(
            straight_path(steps), "flow", (torch.arange(steps, dtype=torch.float64) + 1) / steps * steps
        )
    if card.prediction_type.startswith("edm-"):
        sigmas = edm_sigmas(noise, steps)
        return Preconditioned(
            card.schedule,
            sigmas,
            float(noise.get("sigma_data", 0.5)),
            card.prediction_type.removeprefix("edm-"),
        )
    alpha_bar = _alpha_bar(card, noise)
    if card.prediction_type == "epsilon" and float(alpha_bar[-1]) == 0:
        raise ModelError(
            f"model folder {card.folder}: its schedule ends without any signal, where x0 cannot be told from epsilon"
        )
    return Direct(Schedule(card.schedule, alpha_bar), card.prediction_type, torch.arange(steps))


def _alpha_bar(card: ModelCard, noise: dict[str, Any]) -> Tensor:
    import diffusers

    scheduler = getattr(diffusers, noise.get("_class_name", "DDPMScheduler"))
    wanted = {
        k: v for k, v in noise.items() if "beta" in k or k in ("num_train_timesteps", "prediction_type")
    }
    try:
        alpha_bar: Tensor = scheduler.from_config(wanted).alphas_cumprod.double()
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
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
