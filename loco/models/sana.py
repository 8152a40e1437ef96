"""Sana (arXiv 2410.10629): a transformer of linear attention on strongly compressed latents, told by Gemma 2.

The prompt stands behind an instruction to enrich it ("complex human instruction"); of what Gemma makes of both, the
first token and the last 299 are told. What guidance leads away from is told without the instruction.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 4.5
TOKENS = 300
INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street "
        "lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass "
        "skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    )
)


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `SanaPipeline`; as opened it is told nothing (the empty text)."""
    network: Any = load_part(card, "transformer", "SanaTransformer2DModel", dtype, device)
    gemma = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device, side="right")
    clock = float(network.config.timestep_scale)
    # The instruction's own tokens, without those for a beginning and, by the pipeline's count, one more.
    instructed = TOKENS + len(gemma.tokenizer.encode(INSTRUCTION)) - 2

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(
            x,
            encoder_hidden_states=condition["words"],
            encoder_attention_mask=condition["mask"],
            timestep=time * clock,
        ).sample
        return output

    def embed(text: str, length: int = TOKENS) -> Condition:
        words, mask = gemma(text, length, masked=True)[0], gemma.mask(text, length)
        return {name: _ends(value) for name, value in (("words", words), ("mask", mask))}

    def against(prompt: str) -> Condition:
        return embed(_spoken(prompt))

    nothing = against("")
    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(
            lambda prompt: embed(INSTRUCTION + _spoken(prompt), instructed) if prompt else nothing,
            GUIDANCE,
            against=against,
        ),
        condition=nothing,
    )


def _spoken(prompt: str) -> str:
    return prompt.lower().strip()


def _ends(tokens: Tensor) -> Tensor:
    """The first and the last of the tokens, `TOKENS` in all."""
    return torch.cat([tokens[:, :1], tokens[:, 1 - TOKENS :]], dim=1)
