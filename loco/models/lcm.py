"""Latent consistency models (Luo et al., arXiv 2310.04378): Stable Diffusion that has learnt its guidance.

x0_hat is the network's endpoint of the probability flow. The consistency function c_skip x_t + c_out x0_hat has
c_skip = 0.25 / ((10 step)^2 + 0.25), less than 1e-3 from step 2 on, and is not used: at step 0 it is the identity, from
which no noise can be told.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 8.5


def guidance_embedding(scale: float, width: int, like: Tensor) -> Tensor:
    """The sinusoids [1, width] by which the network is told w = scale - 1."""
    half = width // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float64)
        * -(torch.log(torch.tensor(10000.0, dtype=torch.float64)) / (half - 1))
    )
    angles = 1000 * (scale - 1) * frequencies[None]
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(waves, (0, width - 2 * half)).to(like)


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `LatentConsistencyModelPipeline`; as opened it is told nothing, at guidance 1."""
    network: Any = load_part(card, "unet", "UNet2DConditionModel", dtype, device)
    encoder = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    width = int(network.config.time_cond_proj_dim)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x, time, encoder_hidden_states=condition["words"], timestep_cond=condition["guidance"]
        ).sample
        return output

    def distilled(condition: Condition, scale: float) -> Condition:
        return condition | {"guidance": guidance_embedding(scale, width, condition["words"])}

    def embed(prompt: str) -> Condition:
        return distilled({"words": encoder(prompt)[0]}, 1.0)

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE, distilled),
        condition=embed(""),
    )
