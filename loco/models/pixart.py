"""PixArt-alpha and -sigma (arXiv 2310.00426, 2403.04692): a transformer on latents, told by T5."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 4.5
TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `PixArtAlphaPipeline` or `PixArtSigmaPipeline`; as opened it is told nothing."""
    network: Any = load_part(card, "transformer", "PixArtTransformer2DModel", dtype, device)
    t5 = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    index = read_json(card.folder / "model_index.json", card.folder, "a diffusers pipeline")
    pipeline = str(index.get("_class_name"))
    size = _size(card, network, pipeline, device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            encoder_hidden_states=condition["words"],
            encoder_attention_mask=condition["mask"],
            timestep=time,
            added_cond_kwargs={name: condition.get(name) for name in ("resolution", "aspect_ratio")},
        ).sample
        return output

    def embed(prompt: str) -> Condition:
        spoken, tokens = prompt.lower().strip(), TOKENS.get(pipeline, 300)
        words = t5(spoken, tokens, masked=True)[0]
        return {"words": words, "mask": t5.mask(spoken, tokens).to(words.dtype)} | size

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )


def _size(card: ModelCard, network: Any, pipeline: str, device: str) -> Condition:
    """What alpha's largest networks (128 cells wide) are told of the image's size."""
    if pipeline != "PixArtAlphaPipeline" or network.config.sample_size != 128:
        return {}
    _, height, width = card.image_shape
    return {
        "resolution": torch.tensor([[height, width]], dtype=torch.float32, device=device),
        "aspect_ratio": torch.tensor([[height / width]], dtype=torch.float32, device=device),
    }
