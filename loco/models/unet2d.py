"""Pixel models of `UNet2DModel`: on colour or grey images, told a class or nothing, under any schedule of diffusion.

Also behind EDM's preconditioning, and consistency models, whose x0_hat is the end of their flow.
"""

from typing import Any

import torch
from torch import Tensor

from loco.diffusion.codec import Codec, Grey
from loco.errors import InputError, ModelError
from loco.models.card import ModelCard
from loco.models.labels import number_of
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `DDPMPipeline`, a `DDIMPipeline`, a `ConsistencyModelPipeline` or a lone `UNet2DModel`.

    A network that is told a class has none that stands for nothing: as opened it raises `InputError` until it is told
    one.
    """
    network: Any = load_part(card, "unet", "UNet2DModel", dtype, device)
    heads = network.config.get("attention_heads")
    if heads is not None:
        count_heads(card, network, heads)
    classes = int(network.config.num_class_embeds) if card.told == "a class" else None

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        if classes is not None and "label" not in condition:
            raise InputError(
                f"model {card.folder.name!r} is told a class with every image, and none stands for nothing; "
                f"give it one as its prompt: a number below {classes}"
            )
        output: Tensor = network(x, time, class_labels=condition.get("label")).sample
        return output

    def embed(prompt: str) -> Condition:
        if not prompt.strip() or classes is None:
            return {}
        return {"label": torch.tensor([number_of(card, prompt.strip(), classes)], device=device)}

    codec: Codec | None = Grey(card.image_shape) if card.shape[0] == 1 else None
    teller = Teller(embed, 1.0) if classes is not None else None
    return NetworkDenoiser(card, network, read_parametrisation(card), run, codec=codec, teller=teller)


def count_heads(card: ModelCard, network: Any, heads: object) -> None:
    """Split every attention of the network into so many heads, whatever its width; raises `ModelError`."""
    from diffusers.models.attention_processor import Attention

    for module in network.modules():
        if isinstance(module, Attention):
            if not isinstance(heads, int) or heads < 1 or module.inner_dim % heads:
                raise ModelError(
                    f"model folder {card.folder}: attention of width {module.inner_dim} does not split into "
                    f"{heads!r} heads; correct attention_heads in its configuration"
                )
            module.heads = heads
            module.scale = (module.inner_dim // heads) ** -0.5
