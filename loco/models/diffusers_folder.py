"""Unconditional pixel-space diffusers pipelines (DDPM, DDIM) from a local folder.

Only safetensors weights and JSON configurations are read; nothing in the folder is executed or unpickled.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.diffusion.denoiser import posterior_mean
from loco.diffusion.schedule import Schedule
from loco.errors import ModelError
from loco.ids import content_id, file_id

PIPELINES = ("DDPMPipeline", "DDIMPipeline")
WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = "card.json"


@dataclass(frozen=True)
class ModelCard:
    """What can be known of a model folder without loading its weights.

    Attributes:
        id: Hash of the weights' bytes, the network's configuration and the schedule.
        folder: Where it lies.
        family: `unet2d`.
        prediction_type: `epsilon`, `v_prediction` or `sample`.
        shape: (C, H, W).
        schedule: Name of the noise schedule.
        train_steps: Training steps of the schedule.
        recommended_t: From the folder's `card.json`, or None.
        extra: Everything else that `card.json` says.
    """

    id: str
    folder: Path
    family: str
    prediction_type: str
    shape: tuple[int, int, int]
    schedule: str
    train_steps: int
    recommended_t: float | None
    extra: dict[str, Any]


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"model folder {path.parents[0]}: expected {what} in {path.name}, found no such file; "
            f"name the folder of a diffusers pipeline (saved with save_pretrained)"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"model file {path}: expected JSON, found {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"model file {path}: expected a JSON object, found {type(content).__name__}")
    return content


def read_card(folder: Path) -> ModelCard:
    """Check a model folder and describe it; raises `ModelError` saying what is missing or not supported."""
    if not folder.is_dir():
        raise ModelError(f"model folder {folder} does not exist; name the folder of a diffusers pipeline")
    index = _read_json(folder / "model_index.json", "a diffusers pipeline")
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise ModelError(f"model folder {folder}: expected {' or '.join(PIPELINES)}, found {pipeline!r}")
    network = _read_json(folder / "unet" / "config.json", "the network's configuration")
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json", "the noise schedule")
    weights = folder / "unet" / WEIGHTS
    if network.get("_class_name") != "UNet2DModel":
        raise ModelError(f"model folder {folder}: expected a UNet2DModel, found {network.get('_class_name')!r}")
    if not weights.is_file():
        raise ModelError(
            f"model folder {folder}: expected weights in unet/{WEIGHTS}, found no such file; other formats can run "
            f"code when opened and are not read: save the pipeline again with safe_serialization=True"
        )
    size = network.get("sample_size")
    height, width = (size, size) if isinstance(size, int) else tuple(size or (0, 0))
    if not height or network.get("in_channels") != 3:
        raise ModelError(f"model folder {folder}: expected 3 channels at a fixed size, found {network}")
    card = _read_json(folder / CARD, "the model card") if (folder / CARD).exists() else {}
    # What changes x0_hat, and nothing else: versions and paths in the configurations must not change the id.
    meaning = {k: v for k, v in sorted(network.items()) if not k.startswith("_") and k != "decay"}
    noise = {k: v for k, v in sorted(scheduler.items()) if "beta" in k or k in ("num_train_timesteps", "prediction_type")}
    recommended = card.get("recommended_t")
    return ModelCard(
        id=content_id("model", [file_id(weights), meaning, noise]),
        folder=folder,
        family="unet2d",
        prediction_type=str(scheduler.get("prediction_type", "epsilon")),
        shape=(3, int(height), int(width)),
        schedule=str(scheduler.get("beta_schedule", "linear")),
        train_steps=int(scheduler.get("num_train_timesteps", 1000)),
        recommended_t=float(recommended) if recommended is not None else None,
        extra=card,
    )


class UNetDenoiser:
    """Posterior mean of a diffusers `UNet2DModel` under its schedule."""

    def __init__(self, card: ModelCard, network: torch.nn.Module, schedule: Schedule) -> None:
        self.name = card.folder.name
        self.shape = card.shape
        self.schedule = schedule
        self.prediction_type = card.prediction_type
        self.network = network

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t; see `loco.diffusion.denoiser`."""
        step = torch.tensor(self.schedule.step(t), device=x_t.device)
        output = self.network(x_t, step).sample[:, : self.shape[0]]  # models with learned variance append it
        return posterior_mean(x_t, output, self.schedule.at(t), self.prediction_type)


def _contiguous(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(item.contiguous() for item in inputs)


def open_folder(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[ModelCard, UNetDenoiser]:
    """Open a diffusers pipeline folder as a denoiser, frozen, in evaluation mode.

    Raises `ModelError` when the folder is not one, or its weights do not fit its configuration.
    """
    card = read_card(folder)
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.models.attention_processor import Attention, AttnProcessor
    from safetensors import SafetensorError

    try:
        network = UNet2DModel.from_pretrained(
            str(folder / "unet"), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
        scheduler = DDPMScheduler.from_pretrained(str(folder / "scheduler"), local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"model folder {folder}: its weights cannot be loaded: {reason}") from error
    for module in network.modules():
        if isinstance(module, Attention):
            # Fused attention has no forward-mode derivative (pytorch issue 98164); the plain one has.
            module.set_processor(AttnProcessor())
        elif isinstance(module, torch.nn.GroupNorm):
            # Neither has group_norm for an input that is not contiguous, which strided convolutions yield.
            module.register_forward_pre_hook(_contiguous)
    network = network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    schedule = Schedule(card.schedule, scheduler.alphas_cumprod.double())
    return card, UNetDenoiser(card, network, schedule)
