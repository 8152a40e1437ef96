"""Inpainting networks, as Stable Diffusion's (arXiv 2112.10752): beside x_t they see a mask, and what lies outside it.

They are told that all of the image is to be made anew, which is among what they have learnt: a mask of ones, and the
latents of a gray image. So they are the text-to-image models that they come from, and are edited as those are: told an
image's surroundings, a network would be another one for every image and region.
"""

from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.autoencoder import Autoencoder
from loco.models.card import ModelCard


def completion(card: ModelCard, network: Any, codec: Autoencoder) -> Tensor | None:
    """What follows the latents in the network's input, [1, 1 + c, h, w]; None for a network that sees nothing else.

    Raises `ModelError` for a network that sees another number of channels.
    """
    channels, height, width = card.shape
    found = int(network.config.in_channels)
    if found == channels:
        return None
    if found != 2 * channels + 1:
        raise ModelError(
            f"model folder {card.folder}: expected a network on {channels} channels, or {2 * channels + 1} with mask "
            f"and surroundings, found {found}"
        )
    weight = next(network.parameters())
    wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
    with torch.no_grad():
        surroundings = codec.encode(torch.zeros((1, *card.image_shape), dtype=wide, device=weight.device))
    ones = torch.ones((1, 1, height, width), dtype=wide, device=weight.device)
    return torch.cat([ones, surroundings], 1)


def completed(x: Tensor, more: Tensor | None) -> Tensor:
    """The network's whole input of x [B, c, h, w]."""
    return x if more is None else torch.cat([x, more.to(x).expand(len(x), *more.shape[1:])], 1)
