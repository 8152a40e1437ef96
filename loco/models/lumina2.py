"""Lumina Image 2.0 (arXiv 2503.21758): a transformer on latents, told by Gemma 2 under a system prompt.

Its clock runs from noise (0) to the image (1), so that its answer is the flow's velocity with the other sign. What
guidance leads away from is told without the system prompt. Its pipeline also rescales the guided answer, row by row, to
the length of the prompt's own (`cfg_normalization`): that belongs to how it samples, and is not done here.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder, penultimate

GUIDANCE = 4.0
TOKENS = 256
SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts."
)


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `Lumina2Pipeline`; as opened it is told nothing (the empty text)."""
    network: Any = load_part(card, "transformer", "Lumina2Transformer2DModel", dtype, device)
    gemma = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device, side="right")
    steps = card.train_steps

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            timestep=1 - time / steps,
            encoder_hidden_states=condition["words"],
            encoder_attention_mask=condition["mask"],
        ).sample
        return -output

    def embed(text: str) -> Condition:
        words = penultimate(gemma(text, TOKENS, masked=True))
        return {"words": words, "mask": gemma.mask(text, TOKENS)}

    nothing = embed("")
    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(
            lambda prompt: embed(f"{SYSTEM} <Prompt Start> {prompt}") if prompt else nothing,
            GUIDANCE,
            against=embed,
        ),
        condition=nothing,
    )
