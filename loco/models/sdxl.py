"""Stable Diffusion XL (Podell et al., arXiv 2307.01952): two CLIPs, and the image's size as part of what is told."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder, penultimate

GUIDANCE = 5.0


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `StableDiffusionXLPipeline`; as opened it is told nothing.

    What "nothing" is, the pipeline says: zeros (`force_zeros_for_empty_prompt`, the default), or the empty prompt.
    """
    network: Any = load_part(card, "unet", "UNet2DConditionModel", dtype, device)
    encoders = [
        load_text_encoder(card, encoder, tokenizer, dtype, device)
        for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
        if encoder in card.weights
    ]
    index = read_json(card.folder / "model_index.json", card.folder, "a diffusers pipeline")
    zeros = bool(index.get("force_zeros_for_empty_prompt", True))
    _, height, width = card.image_shape
    # Size of the original, crop's corner, size of the target: an uncropped image at the model's own size.
    size = torch.tensor([[height, width, 0, 0, height, width]], dtype=dtype, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        added = {"text_embeds": condition["pooled"], "time_ids": condition["size"]}
        output: Tensor = network(
            x, time, encoder_hidden_states=condition["words"], added_cond_kwargs=added
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        outputs = [encoder(prompt) for encoder in encoders]
        words, pooled = torch.cat([penultimate(one) for one in outputs], dim=-1), outputs[-1][0]
        if zeros and not prompt:
            words, pooled = torch.zeros_like(words), torch.zeros_like(pooled)
        return {"words": words, "pooled": pooled, "size": size}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
