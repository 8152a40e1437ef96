"""Stable Diffusion XL (Podell et al., arXiv 2307.01952): two CLIPs, and the image's size as part of what is told.

The refiner has the second CLIP alone and is told how beautiful the image is (6) instead of its target's size; of what
guidance leads away from it is told 2.5. A network with `time_cond_proj_dim` (LCM-SDXL) has learnt its guidance.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.inpainting import completed, completion
from loco.models.layout import read_json
from loco.models.lcm import GUIDANCE as LEARNT_GUIDANCE
from loco.models.lcm import guidance_embedding
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder, penultimate

GUIDANCE = 5.0
BEAUTY = 6.0
BEAUTY_OF_NOTHING = 2.5


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
    _, height, width_of_image = card.image_shape
    scored = bool(index.get("requires_aesthetics_score", False))
    width = network.config.time_cond_proj_dim
    codec = load_autoencoder(card, dtype, device)
    more = completion(card, network, codec)
    # Size of the original, crop's corner, then size of the target: an uncropped image at the model's own size.
    place = [height, width_of_image, 0, 0]

    def sized(score: float) -> Tensor:
        last = [score] if scored else [height, width_of_image]
        # In halves sizes such as 1023 would be rounded.
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return torch.tensor([[*place, *last]], dtype=wide, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        added = {"text_embeds": condition["pooled"], "time_ids": condition["size"]}
        output: Tensor = network(
            completed(x, more),
            time,
            timestep_cond=condition.get("guidance"),
            encoder_hidden_states=condition["words"],
            added_cond_kwargs=added,
        ).sample
        return output

    def embed(prompt: str, score: float = BEAUTY) -> Condition:
        outputs = [encoder(prompt) for encoder in encoders]
        words, pooled = torch.cat([penultimate(one) for one in outputs], dim=-1), outputs[-1][0]
        if zeros and not prompt:
            words, pooled = torch.zeros_like(words), torch.zeros_like(pooled)
        return distilled({"words": words, "pooled": pooled, "size": sized(score)}, 1.0)

    def against(prompt: str) -> Condition:
        return embed(prompt, BEAUTY_OF_NOTHING)

    def distilled(condition: Condition, scale: float) -> Condition:
        if width is None:
            return condition
        return condition | {"guidance": guidance_embedding(scale, int(width), condition["words"])}

    nothing = against("")
    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=codec,
        teller=Teller(
            lambda prompt: embed(prompt) if prompt else nothing,
            LEARNT_GUIDANCE if width is not None else GUIDANCE,
            distilled if width is not None else None,
            against,
        ),
        condition=nothing,
    )
