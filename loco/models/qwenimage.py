"""Qwen-Image (arXiv 2508.02324): flow matching by a transformer on packed latents, told by Qwen2.5-VL.

The prompt stands in a template of a conversation, of which the first tokens (the system's part) are not told; there is
no padding. As Lumina2's, its pipeline also rescales the guided answer to the length of the prompt's own: that belongs
to how it samples, and is not done here.
"""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.flux import pack, unpack
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation
from loco.models.text import load_text_encoder

GUIDANCE = 4.0
TOKENS = 512
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
UNTOLD = 34
"""Tokens of the system's part."""


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `QwenImagePipeline`; as opened it is told nothing (the empty prompt)."""
    network: Any = load_part(card, "transformer", "QwenImageTransformer2DModel", dtype, device)
    for odd in ("zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"):
        if network.config.get(odd):
            raise ModelError(
                f"model folder {card.folder}: found a network of layers or of images that are edited ({odd}); "
                f"expected one that is told words alone"
            )
    qwen = load_text_encoder(card, "text_encoder", "tokenizer", dtype, device)
    cells = (1, card.shape[1] // 2, card.shape[2] // 2)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        tokens = network(
            hidden_states=pack(x),
            timestep=time / 1000,  # this transformer multiplies by 1000 itself
            encoder_hidden_states=condition["words"],
            img_shapes=[[cells]] * len(x),
        ).sample
        return unpack(tokens, card.shape)

    def embed(prompt: str) -> Condition:
        outputs = qwen(TEMPLATE.format(prompt), TOKENS + UNTOLD, masked=True, padded=False)
        return {"words": outputs.hidden_states[-1][:, UNTOLD : UNTOLD + TOKENS]}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
