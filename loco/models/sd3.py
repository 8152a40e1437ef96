"""Stable Diffusion 3 (Esser et al., arXiv 2403.03206): flow matching by a transformer on latents, told in words.

Two CLIPs give the pooled words and, side by side, the first tokens; T5 gives the rest, or zeros where it was left out.
"""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder, penultimate

GUIDANCE = 7.0
T5_TOKENS = 256


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `StableDiffusion3Pipeline`; as opened it is told nothing (the empty prompt)."""
    network: Any = load_part(card, "transformer", "SD3Transformer2DModel", dtype, device)
    for needed in ("text_encoder", "text_encoder_2"):
        if needed not in card.weights:
            raise ModelError(f"model folder {card.folder}: expected both CLIPs, found no {needed}")
    clips = [
        load_text_encoder(card, encoder, tokenizer, dtype, device)
        for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    ]
    t5 = (
        load_text_encoder(card, "text_encoder_3", "tokenizer_3", dtype, device)
        if "text_encoder_3" in card.weights
        else None
    )
    width = int(network.config.joint_attention_dim)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            timestep=time,
            encoder_hidden_states=condition["words"],
            pooled_projections=condition["pooled"],
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        outputs = [clip(prompt) for clip in clips]
        tokens = torch.cat([penultimate(one) for one in outputs], dim=-1)
        tokens = torch.nn.functional.pad(tokens, (0, width - tokens.shape[-1]))
        rest = tokens.new_zeros((1, T5_TOKENS, width)) if t5 is None else t5(prompt, T5_TOKENS)[0]
        return {
            "words": torch.cat([tokens, rest], dim=1),
            "pooled": torch.cat([one[0] for one in outputs], dim=-1),
        }

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
