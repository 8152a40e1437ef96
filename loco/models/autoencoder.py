"""The autoencoder of latent models (diffusers `AutoencoderKL`) as a codec.

z = (mean of the encoder - shift) * scaling, with the constants that the autoencoder's configuration names; where it
has a mean and a standard deviation for each channel, z = (mean - latents_mean) * scaling / latents_std.
"""

from typing import Any

import torch
from torch import Tensor

from loco.models.card import ModelCard
from loco.models.network import load_part, plain_attention


class Autoencoder:
    """Images [B, 3, H, W] <-> latents [B, c, h, w]; deterministic: encoding takes the mean."""

    def __init__(self, network: Any, image_shape: tuple[int, int, int]) -> None:
        self.network, self.image_shape = network, image_shape
        settings = network.config
        weight = next(network.parameters())

        def constant(values: Any, default: float) -> Tensor:
            filled = [default] if values is None else values
            return torch.tensor(filled, dtype=weight.dtype, device=weight.device).reshape(-1, 1, 1)

        centre, spread = settings.get("latents_mean"), settings.get("latents_std")
        self.shift = constant(centre, float(settings.get("shift_factor") or 0.0))
        self.scale = float(settings.get("scaling_factor") or 1.0) / constant(spread, 1.0)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1]."""
        with plain_attention():
            mean: Tensor = self.network.encode(images).latent_dist.mean
        return (mean - self.shift) * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        """Images of latents."""
        with plain_attention():
            images: Tensor = self.network.decode(x0 / self.scale + self.shift).sample
        return images


def load_autoencoder(card: ModelCard, dtype: torch.dtype, device: str) -> Autoencoder:
    """The autoencoder in a model folder's `vae`."""
    return Autoencoder(load_part(card, "vae", "AutoencoderKL", dtype, device), card.image_shape)
