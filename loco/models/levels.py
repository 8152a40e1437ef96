"""The alpha_bar of a model folder's training steps, read from its configuration: no torch, so that listings have it.

What the opened model's `Schedule` says, to rounding: `tests/models/test_levels.py` holds the two together.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loco.errors import ModelError
from loco.levels import Wanted, t_of, wanted
from loco.models.card import read_card
from loco.models.layout import part, read_json
from loco.models.noise import EDM, by_betas
from loco.models.source import model_folder

Numbers = NDArray[Any]

_SPOKEN = {
    **dict.fromkeys(
        (
            "HeunDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "DPMSolverSDEScheduler",
        ),
        "linear",
    ),
    **dict.fromkeys(("LCMScheduler", "TCDScheduler"), "scaled_linear"),
}
"""Schedulers whose betas, where a configuration leaves them out, are those of Stable Diffusion, and of which kind."""

_TO_ZERO = tuple(
    f"{name}Scheduler" for name in ("DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "LCM", "TCD")
)
"""Schedulers that know `rescale_betas_zero_snr` and leave a schedule that falls."""


def alpha_bar(folder: Path) -> Numbers:
    """[T] float64, decreasing; raises `ModelError` for what is no model folder, or has a schedule of another kind."""
    card = read_card(folder, hashed=False)
    noise = read_json(part(folder, "scheduler") / "scheduler_config.json", folder, "the noise schedule")
    try:
        if card.prediction_type == "flow":
            s = (np.arange(card.train_steps) + 1) / card.train_steps
            found: NDArray[Any] = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
        elif card.prediction_type == "consistency" or noise.get("_class_name") in EDM:
            found = 1 / (1 + _sigmas(noise, card.train_steps) ** 2)
        elif card.prediction_type.startswith("edm") and not by_betas(noise):
            way = "exponential" if noise.get("use_exponential_sigmas") else "karras"
            found = 1 / (1 + _sigmas(noise | {"sigma_schedule": way, "rho": 7.0}, card.train_steps) ** 2)
        else:
            found = _falling(noise, card.train_steps)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"model folder {folder}: its noise schedule is none that is known: {error}"
        ) from error
    if len(found) != card.train_steps or not np.isfinite(found).all():
        raise ModelError(f"model folder {folder}: its noise schedule is none that is known")
    return found.astype(np.float64)


def resolved(level: Any, name: str, source: str) -> Any:
    """The t that a level means for the model `name` at `source`: `snr:X`, `logsnr:X`, `abar:X`, or `Wanted`.

    All else, numbers above all, is returned as it is, for whoever checks it. Raises `InputError` for what is no level,
    or one that the model does not have, `ModelError` where the model cannot be read.
    """
    found = wanted(level) if isinstance(level, str) else level
    if not isinstance(found, Wanted):
        return level
    return t_of(found, alpha_bar(model_folder(source)), f"model {name!r}")


def _falling(noise: dict[str, Any], steps: int) -> Numbers:
    """Those of variance-preserving diffusion."""
    found = np.cumprod(1 - _betas(noise, steps))
    if noise.get("rescale_betas_zero_snr") and noise.get("_class_name", _TO_ZERO[0]) in _TO_ZERO:
        root = np.sqrt(found)
        found = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return found


def _betas(noise: dict[str, Any], steps: int) -> Numbers:
    """As diffusers makes them of a scheduler's configuration."""
    if noise.get("trained_betas") is not None:
        return np.asarray(noise["trained_betas"], np.float64)
    scheduler = noise.get("_class_name", "DDPMScheduler")
    usual = (0.00085, 0.012) if scheduler in _SPOKEN else (1e-4, 0.02)
    low, high = (
        float(noise.get(name, one)) for name, one in zip(("beta_start", "beta_end"), usual, strict=True)
    )
    kind = noise.get("beta_schedule", _SPOKEN.get(scheduler, "linear"))
    if kind == "linear":
        return np.linspace(low, high, steps)
    if kind == "scaled_linear":
        return np.linspace(low**0.5, high**0.5, steps) ** 2
    if kind == "squaredcos_cap_v2":
        level = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.minimum(1 - level[1:] / level[:-1], 0.999)
    if kind == "sigmoid":
        return (high - low) / (1 + np.exp(-np.linspace(-6, 6, steps))) + low
    raise ValueError(f"beta_schedule {kind!r}")


def _sigmas(noise: dict[str, Any], steps: int) -> Numbers:
    """EDM's, rising (`loco.models.edm`)."""
    low, high = float(noise.get("sigma_min", 0.002)), float(noise.get("sigma_max", 80.0))
    rho, ramp = float(noise.get("rho", 7.0)), np.linspace(0, 1, steps)
    if noise.get("sigma_schedule", "karras") == "exponential":
        return low * (high / low) ** ramp
    return (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho
