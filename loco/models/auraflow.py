"""AuraFlow: flow matching by a transformer on latents, told by UMT5; what it makes of padding is told as zeros."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 3.5
TOKENS = 256


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of an `AuraFlowPipeline`; as opened it is told nothing (the empty prompt)."""
    network: Any = load_part(card, "transformer", "AuraFlowTransformer2DModel", dtype, device)
    umt5 = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            encoder_hidden_states=condition["words"],
            timestep=time / 1000,  # this transformer multiplies by 1000 itself
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        words = umt5(prompt, TOKENS, masked=True)[0]
        return {"words": words * umt5.mask(prompt, TOKENS)[..., None]}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
