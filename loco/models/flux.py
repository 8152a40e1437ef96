"""FLUX.1: flow matching by a transformer on packed latents, told in words through CLIP (pooled) and T5.

The transformer sees 2 x 2 latent cells as one token, each with its place. `dev` has learnt its guidance and is told the
scale; `schnell` has none.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 3.5
T5_TOKENS = 512


def pack(latents: Tensor) -> Tensor:
    """Latents [B, c, h, w] as tokens [B, h w / 4, 4 c], 2 x 2 cells each, row by row."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, height * width // 4, channels * 4)


def unpack(tokens: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Tokens [B, h w / 4, 4 c] as latents [B, c, h, w]: the inverse of `pack`."""
    channels, height, width = shape
    cells = tokens.reshape(len(tokens), height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(tokens), channels, height, width)


def places(height: int, width: int) -> Tensor:
    """(0, row, column) of each token, [height width, 3]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `FluxPipeline`; as opened it is told nothing, at guidance 1."""
    network: Any = load_part(card, "transformer", "FluxTransformer2DModel", dtype, device)
    clip = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    t5 = load_text_encoder(card, "text_encoder_2", "tokenizer_2", dtype, device)
    steps = card.train_steps
    where = places(card.shape[1] // 2, card.shape[2] // 2).to(device, dtype)
    nowhere = torch.zeros((T5_TOKENS, 3), dtype=dtype, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        tokens = network(
            hidden_states=pack(x),
            timestep=time / steps,  # this transformer multiplies by 1000 itself
            guidance=condition.get("guidance"),
            pooled_projections=condition["pooled"],
            encoder_hidden_states=condition["words"],
            txt_ids=nowhere,
            img_ids=where,
        ).sample
        return unpack(tokens, card.shape)

    def distilled(condition: Condition, scale: float) -> Condition:
        if not network.config.guidance_embeds:
            return condition
        return condition | {"guidance": torch.full((1,), scale, dtype=dtype, device=device)}

    def embed(prompt: str) -> Condition:
        words = t5(prompt, T5_TOKENS)[0]
        return distilled({"words": words, "pooled": clip(prompt).pooler_output}, 1.0)

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE, distilled),
        condition=embed(""),
    )
