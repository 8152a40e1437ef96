"""DiT (Peebles & Xie, arXiv 2212.09748): a transformer on latents with learned variance, told a class."""

from typing import Any

import torch
from torch import Tensor

from loco.models.autoencoder import load_autoencoder
from loco.models.card import ModelCard
from loco.models.labels import number_of
from loco.models.network import Condition, NetworkDenoiser, Teller, load_part
from loco.models.parametrisation import read_parametrisation

GUIDANCE = 4.0


def open_model(card: ModelCard, dtype: torch.dtype, device: str) -> NetworkDenoiser:
    """The denoiser of a `DiTPipeline`; a prompt is a class's name or number, and empty for no class."""
    network: Any = load_part(card, "transformer", "DiTTransformer2DModel", dtype, device)
    classes = int(network.config.num_embeds_ada_norm)

    def run(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        output: Tensor = network(x, timestep=time, class_labels=condition["label"]).sample
        return output

    def embed(prompt: str) -> Condition:
        # One more than the last class stands for none.
        number = classes if not prompt.strip() else number_of(card, prompt.strip(), classes)
        return {"label": torch.tensor([number], device=device)}

    return NetworkDenoiser(
        card,
        network,
        read_parametrisation(card),
        run,
        codec=load_autoencoder(card, dtype, device),
        teller=Teller(embed, GUIDANCE),
        condition=embed(""),
    )
