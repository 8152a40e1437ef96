"""Unconditional pixel models: `UNet2DModel` under any diffusion schedule or EDM's preconditioning."""

from typing import Any

import torch
from torch import Tensor

from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, load_part
from loco.models.parametrisation import read_parametrisation


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `DDPMPipeline`, a `DDIMPipeline` or a lone `UNet2DModel`."""
    network: Any = load_part(card, "unet", "UNet2DModel", dtype, device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(x, time).sample
        return output

    return NetworkDenoiser(card, network, read_parametrisation(card), run)
