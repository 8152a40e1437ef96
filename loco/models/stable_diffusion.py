"""Stable Diffusion 1.x and 2.x (arXiv 2112.10752): `UNet2DConditionModel` on latents, told in words through a CLIP."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.inpainting import completed, completion
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 7.5


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `StableDiffusionPipeline` or its like for inpainting; as opened it is told the empty prompt."""
    network: Any = load_part(card, "unet", "UNet2DConditionModel", dtype, device)
    encoder = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    codec = load_autoencoder(card, dtype, device)
    more = completion(card, network, codec)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(completed(x, more), time, encoder_hidden_states=condition["words"]).sample
        return output

    def embed(prompt: str) -> Condition:
        return {
            "words": encoder(prompt, masked=bool(getattr(encoder.model.config, "use_attention_mask", False)))[
                0
            ]
        }

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=codec,
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
