"""Kolors: the U-Net of Stable Diffusion XL, told by ChatGLM3: its words, and of its last layer the last token."""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 5.0
TOKENS = 256


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `KolorsPipeline`; as opened it is told nothing (the empty prompt)."""
    index = read_json(card.folder / "model_index.json", card.folder, "a diffusers pipeline")
    if index.get("force_zeros_for_empty_prompt"):
        raise ModelError(
            f"model folder {card.folder}: its pipeline says force_zeros_for_empty_prompt, of which nobody says what "
            f"the last token would be then; set it to false in model_index.json"
        )
    network: Any = load_part(card, "unet", "UNet2DConditionModel", dtype, device)
    if network.config.time_cond_proj_dim is not None:
        raise ModelError(
            f"model folder {card.folder}: found a Kolors that has learnt its guidance (time_cond_proj_dim), which is "
            f"not known here; take one that has not"
        )
    glm = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    height, width = card.image_shape[1:]
    # Size of the original, crop's corner, size of the target; in halves sizes such as 1023 would be rounded.
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    size = torch.tensor([[height, width, 0, 0, height, width]], dtype=wide, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            time,
            encoder_hidden_states=condition["words"],
            added_cond_kwargs={"text_embeds": condition["pooled"], "time_ids": condition["size"]},
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        states = glm(prompt, TOKENS, masked=True).hidden_states  # [tokens, 1, width] each
        return {"words": states[-2].transpose(0, 1).contiguous(), "pooled": states[-1][-1], "size": size}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
