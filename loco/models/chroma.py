"""Chroma: Flux's transformer, pruned, with true guidance, told by T5 alone; of the padding it sees the first token."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.flux import T5_TOKENS, pack, places, unpack
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 5.0


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `ChromaPipeline`; as opened it is told nothing (the empty prompt)."""
    network: Any = load_part(card, "transformer", "ChromaTransformer2DModel", dtype, device)
    t5 = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    steps = card.train_steps
    cells = (card.shape[1] // 2, card.shape[2] // 2)
    where = places(*cells).to(device, dtype)
    nowhere = torch.zeros((T5_TOKENS, 3), dtype=dtype, device=device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        image = condition["mask"].new_ones((len(x), cells[0] * cells[1]))
        tokens = network(
            hidden_states=pack(x),
            timestep=time / steps,
            encoder_hidden_states=condition["words"],
            txt_ids=nowhere,
            img_ids=where,
            attention_mask=torch.cat([condition["mask"], image], dim=1),
        ).sample
        return unpack(tokens, card.shape)

    def embed(prompt: str) -> Condition:
        words = t5(prompt, T5_TOKENS, masked=True)[0]
        spoken = t5.mask(prompt, T5_TOKENS).sum(dim=1, keepdim=True)
        seen = torch.arange(T5_TOKENS, device=words.device)[None] <= spoken
        return {"words": words, "mask": seen.to(words.dtype)}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
