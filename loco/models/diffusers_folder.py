"""Unconditional pixel-space diffusers pipelines (DDPM, DDIM) from a local folder.

Only safetensors weights and JSON configurations are read; nothing in the folder is executed or unpickled.
"""

from pathlib import Path

import torch
from torch import Tensor

from loco.diffusion.denoiser import posterior_mean
from loco.diffusion.schedule import Schedule
from loco.errors import ModelError
from loco.models.card import ModelCard, read_card


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


def open_folder(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[ModelCard, UNetDenoiser]:
    """Open a diffusers pipeline folder as a denoiser, frozen, in evaluation mode.

    Raises `ModelError` when the folder is not one, or its weights do not fit its configuration.
    """
    card = read_card(folder)
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.models.attention_processor import Attention, AttnProcessor
    from safetensors import SafetensorError

    try:
        network, loaded = UNet2DModel.from_pretrained(
            str(folder / "unet"),
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
        scheduler = DDPMScheduler.from_pretrained(str(folder / "scheduler"), local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"model folder {folder}: its weights cannot be loaded: {reason}") from error
    for what in ("missing", "unexpected"):  # diffusers only warns, and draws what is missing at random
        if loaded[f"{what}_keys"]:
            names = ", ".join(sorted(loaded[f"{what}_keys"])[:5])
            raise ModelError(
                f"model folder {folder}: its weights do not fit its configuration: {what} {names}"
            )
    for module in network.modules():
        if isinstance(module, Attention):
            # Fused attention has no forward-mode derivative (pytorch issue 98164); the plain one has.
            module.set_processor(AttnProcessor())
            # "Upcast" means float32, which for a network in float64 would round the attention scores.
            module.upcast_attention = module.upcast_softmax = False
        elif isinstance(module, torch.nn.GroupNorm):
            # Neither has group_norm for an input that is not contiguous, which strided convolutions yield.
            module.register_forward_pre_hook(_contiguous)
    network = network.to(device).eval().requires_grad_(False)
    schedule = Schedule(card.schedule, scheduler.alphas_cumprod.double())
    return card, UNetDenoiser(card, network, schedule)
