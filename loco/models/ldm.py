"""Unconditional latent diffusion (Rombach et al., arXiv 2112.10752): `UNet2DModel` on the latents of a `VQModel`."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, load_part
from loco.models.parametrisation import read_parametrisation


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of an `LDMPipeline`."""
    network: Any = load_part(card, "unet", "UNet2DModel", dtype, device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(x, time).sample
        return output

    return NetworkDenoiser(
        card, network, read_parametrisation(card), run, codec=load_autoencoder(card, dtype, device)
    )
