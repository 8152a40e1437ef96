"""FLUX.2 [klein]: flow matching by a transformer on latents in patches, told by three layers of Qwen3 side by side.

The prompt stands in Qwen3's template of a conversation, without thinking. A template in a folder is a program, which is
not run: it is Qwen3's that is written here, and a folder with another is refused. A distilled network has learnt its
guidance, at one scale.
"""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import TextEncoder, load_text_encoder

GUIDANCE = 4.0
TOKENS = 512
LAYERS = (9, 18, 27)
TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_OF_QWEN3 = ("enable_thinking", r"<think>\n\n</think>\n\n", "<|im_start|>", "<|im_end|>")
"""What stands in Qwen3's template, whatever else of it (tools, earlier turns) may change."""


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `Flux2KleinPipeline`; as opened it is told nothing (the empty prompt)."""
    network: Any = load_part(card, "transformer", "Flux2Transformer2DModel", dtype, device)
    qwen = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    _check(card, qwen)
    index = read_json(card.folder / "model_index.json", card.folder, "a diffusers pipeline")
    height, width = card.shape[1:]
    # Each token's place in time, rows, columns and text.
    cells = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width), torch.arange(1))
    words = torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(TOKENS))
    where, when = cells[None].to(device), words[None].to(device)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        tokens = network(
            hidden_states=x.flatten(2).transpose(1, 2),
            timestep=time / 1000,  # this transformer multiplies by 1000 itself
            encoder_hidden_states=condition["words"],
            txt_ids=when,
            img_ids=where,
        ).sample
        output: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return output

    def embed(prompt: str) -> Condition:
        states = qwen(TEMPLATE.format(prompt), TOKENS, masked=True).hidden_states
        return {"words": torch.cat([states[layer] for layer in LAYERS], dim=-1)}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(
            embed, GUIDANCE, (lambda condition, scale: condition) if index.get("is_distilled") else None
        ),
        condition=embed(""),
    )


def _check(card: ModelCard, qwen: TextEncoder) -> None:
    """Raise `ModelError` where the encoder or its template is not one of Qwen3's kind."""
    template = qwen.tokenizer.chat_template
    missing = [one for one in _OF_QWEN3 if not isinstance(template, str) or one not in template]
    if missing:
        raise ModelError(
            f"model folder {card.folder}: expected tokenizer with Qwen3's template of conversations, found one without "
            f"{missing[0]!r}; templates are not run, so that no other is understood"
        )
    layers = int(qwen.model.config.num_hidden_layers)
    if layers < max(LAYERS):
        raise ModelError(
            f"model folder {card.folder}: expected text_encoder to have {max(LAYERS)} layers or more, found {layers}"
        )
