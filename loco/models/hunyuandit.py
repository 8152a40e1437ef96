"""HunyuanDiT (arXiv 2405.08748): a transformer on latents, told by BERT (or CLIP) and mT5.

Up to version 1.1 it is also told a style, of which there is one, and the sizes of the image: as the pipeline's default
says, of an original of 1024 x 1024, uncropped.
"""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 5.0
TOKENS, T5_TOKENS = 77, 256
ORIGINAL = (1024, 1024)
CELLS = 512 // 8
"""Latent cells of the images whose positions all others are scaled to."""


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `HunyuanDiTPipeline`; as opened it is told nothing (the empty prompt)."""
    for needed in ("text_encoder", "text_encoder_2"):
        if needed not in card.weights:
            raise ModelError(
                f"model folder {card.folder}: expected both text encoders, found no {needed}; add it to the folder"
            )
    network: Any = load_part(card, "transformer", "HunyuanDiT2DModel", dtype, device)
    bert = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    t5 = load_text_encoder(card, "text_encoder_2", "tokenizer_2", dtype, device)
    # The clock stays in float32, which the network would take for its own type.
    network.time_extra_emb.register_forward_pre_hook(
        lambda module, args, options: (args, options | {"hidden_dtype": dtype}), with_kwargs=True
    )
    where = tuple(one.to(device) for one in _places(card, network))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sizes = torch.tensor([[*ORIGINAL, *card.image_shape[1:], 0, 0]], dtype=wide, device=device)
    style = torch.zeros(1, dtype=torch.long, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        told = {name: value.contiguous() for name, value in condition.items()}
        output: Tensor = network(
            x,
            time,
            encoder_hidden_states=told["words"],
            text_embedding_mask=told["mask"],
            encoder_hidden_states_t5=told["words_2"],
            text_embedding_mask_t5=told["mask_2"],
            image_meta_size=told["sizes"],
            style=told["style"],
            image_rotary_emb=where,
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        return {
            "words": bert(prompt, TOKENS, masked=True)[0],
            "mask": bert.mask(prompt, TOKENS),
            "words_2": t5(prompt, T5_TOKENS, masked=True)[0],
            "mask_2": t5.mask(prompt, T5_TOKENS),
            "sizes": sizes,
            "style": style,
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


def _places(card: ModelCard, network: Any) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each token's row and column, [tokens, width of a head] each."""
    from diffusers.models.embeddings import get_2d_rotary_pos_embed
    from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

    patch = int(network.config.patch_size)
    grid = (card.shape[1] // patch, card.shape[2] // patch)
    width = network.inner_dim // network.num_heads
    crop = get_resize_crop_region_for_grid(grid, CELLS // patch)
    cosines, sines = get_2d_rotary_pos_embed(width, crop, grid, output_type="pt")
    return cosines, sines
