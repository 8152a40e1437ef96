"""What a scheduler's configuration says of a model's noise, and what of it is only the sampler's business. No torch.

Every key of the known classes stands in one of the tables here: those that set the levels and the network's clock,
those that only say how samples are drawn, and those whose value can make it another model. A key that is in none, at
a value that is not its default, is refused: a model that is not understood gives wrong numbers without a word.
"""

from pathlib import Path
from typing import Any

from loco.errors import ModelError

PREDICTIONS = ("epsilon", "v_prediction", "sample")

DIFFUSION = (
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
    "LCMScheduler",
    "TCDScheduler",
)
"""Schedulers of variance-preserving diffusion; all that is read of them is their alpha_bar."""

EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler")
FLOW_SOLVERS = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
)
"""Schedulers of diffusion that serve flows as well, where they say `flow_prediction` and `use_flow_sigmas`."""

CONSISTENCY = ("CMStochasticIterativeScheduler",)

LEVELS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
    "timestep_type",
    "rescale_timesteps",
)
"""Keys that set the noise levels of diffusion, or the network's clock. The last is ours: see `loco.models.adm`."""

SIGMAS = ("sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "rho")
"""Keys that set the levels where they are told as sigma."""

SAMPLING = (
    *("clip_sample", "clip_sample_range", "clip_denoised", "thresholding", "dynamic_thresholding_ratio"),
    *("sample_max_value", "set_alpha_to_one", "steps_offset", "timestep_spacing", "timestep_scaling"),
    *("variance_type", "skip_prk_steps", "interpolation_type", "use_karras_sigmas", "use_exponential_sigmas"),
    *("use_beta_sigmas", "use_lu_lambdas", "final_sigmas_type", "lambda_min_clipped", "solver_order"),
    *("solver_type", "solver_p", "algorithm_type", "lower_order_final", "euler_at_final", "predict_x0"),
    *("disable_corrector", "predictor_order", "corrector_order", "tau_func", "original_inference_steps"),
    *(
        "noise_sampler_seed",
        "s_noise",
        "shift",
        "flow_shift",
        "use_dynamic_shifting",
        "base_shift",
        "max_shift",
    ),
    *("base_image_seq_len", "max_image_seq_len", "shift_terminal", "time_shift_type", "stochastic_sampling"),
    *("scale_factors", "upscale_mode"),
)
"""Keys that only say how samples are drawn: x0_hat at a noise level does not depend on them."""

PLAIN = {"invert_sigmas": (False, None), "use_flow_sigmas": (False, None), "snr_shift_scale": (None, 1, 1.0)}
"""Keys that make it another model, with the values at which they do not."""

_OTHER_BETAS = (
    *("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
    *("DPMSolverSDEScheduler", "LCMScheduler", "TCDScheduler"),
)
"""Classes whose betas, where they are left out, are not those of the others."""

_NAMED = ("_", "scheduler_type")


def prediction(folder: Path, schedulers: tuple[str, ...], noise: dict[str, Any]) -> str:
    """What the network predicts, as cards say it: `epsilon`, `v_prediction`, `sample`, `flow`, `consistency`, `edm-*`.

    Raises `ModelError` for a scheduler that is not of `schedulers`, and for one that is not understood.
    """
    name = noise.get("_class_name", schedulers[0])
    flow = name in FLOW_SOLVERS and bool(noise.get("use_flow_sigmas"))
    wanted = noise.get("prediction_type", "epsilon")
    if flow and FLOW[0] in schedulers and wanted == "flow_prediction":
        _understood(folder, noise, ("use_flow_sigmas",))
        return "flow"
    if name not in schedulers:
        raise ModelError(
            f"model folder {folder}: expected a scheduler of {', '.join(schedulers)}, found {name!r}"
        )
    _understood(folder, noise, ())
    if name in FLOW:
        return "flow"
    if name in CONSISTENCY:
        return "consistency"
    known = PREDICTIONS[:2] if name in EDM else PREDICTIONS
    if wanted not in known:
        raise ModelError(
            f"model folder {folder}: expected prediction_type {', '.join(known[:-1])} or {known[-1]}, found {wanted!r}"
        )
    if name in EDM or (wanted == "v_prediction" and noise.get("timestep_type") == "continuous"):
        return f"edm-{wanted}"
    if noise.get("timestep_type") not in (None, "discrete", "continuous"):
        raise ModelError(
            f"model folder {folder}: expected timestep_type discrete or continuous, found {noise['timestep_type']!r}"
        )
    if wanted == "epsilon" and noise.get("rescale_betas_zero_snr"):
        raise ModelError(
            f"model folder {folder}: its schedule ends without any signal (rescale_betas_zero_snr), where x0 cannot "
            f"be told from epsilon; such a model predicts v_prediction: correct scheduler/scheduler_config.json"
        )
    return str(wanted)


def _understood(folder: Path, noise: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse what would make it another model."""
    for key, value in noise.items():
        if key in PLAIN and key not in allowed and value not in PLAIN[key]:
            raise ModelError(
                f"model folder {folder}: its scheduler says {key} = {value!r}, which makes it a model of a kind that "
                f"is not known here; expected {PLAIN[key][0]!r}"
            )
        known = key in LEVELS or key in SIGMAS or key in SAMPLING or key in PLAIN or key.startswith(_NAMED)
        if not known and value not in (None, False):
            raise ModelError(
                f"model folder {folder}: its scheduler says {key} = {value!r:.80}, which is not understood, so that "
                f"its noise may be another; correct scheduler/scheduler_config.json"
            )


def schedule_name(noise: dict[str, Any], prediction_type: str) -> str:
    """What people call the schedule."""
    if prediction_type == "flow":
        return "straight"
    if prediction_type == "consistency" or (prediction_type.startswith("edm") and not by_betas(noise)):
        return str(noise.get("sigma_schedule", "karras"))
    zero = " to zero signal" if noise.get("rescale_betas_zero_snr") else ""
    return str(noise.get("beta_schedule", "linear")) + zero


def by_betas(noise: dict[str, Any]) -> bool:
    """Whether the levels of a continuous clock come from betas, and not from a range of sigma."""
    if noise.get("_class_name") in EDM:
        return False
    ranged = noise.get("use_karras_sigmas") or noise.get("use_exponential_sigmas")
    return not (ranged and noise.get("sigma_min") is not None and noise.get("sigma_max") is not None)


def levels(noise: dict[str, Any], prediction_type: str) -> dict[str, Any]:
    """What of a scheduler's configuration changes x0_hat: that part of it is in a model's id."""
    found = {k: v for k, v in noise.items() if k in ("num_train_timesteps", "prediction_type") or "beta" in k}
    name = noise.get("_class_name")
    if not prediction_type.startswith("edm") and name in _OTHER_BETAS and "beta_start" not in noise:
        found["defaults"] = name  # what is left out is its class's
    if noise.get("rescale_timesteps"):
        found["rescale_timesteps"] = True
    if prediction_type.startswith("edm"):
        found |= {k: v for k, v in noise.items() if k.startswith("sigma") or k == "rho"} | {"edm": True}
        if noise.get("_class_name") not in EDM:
            found |= {
                "continuous": True,
                "by_betas": by_betas(noise),
                "exponential": bool(noise.get("use_exponential_sigmas")),
            }
    if prediction_type == "consistency":
        found |= {k: v for k, v in noise.items() if k in SIGMAS} | {"consistency": True}
    return found


def train_steps(noise: dict[str, Any]) -> Any:
    """The number of training steps, as it stands there."""
    return noise.get("num_train_timesteps", 40 if noise.get("_class_name") in CONSISTENCY else 1000)
