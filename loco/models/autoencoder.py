"""The autoencoders of latent models as codecs: diffusers' `AutoencoderKL`, `AutoencoderTiny` and others.

z = (mean of the encoder - shift) * scaling, with the constants that the autoencoder's configuration names; where it
has a mean and a standard deviation for each channel, z = (mean - latents_mean) * scaling / latents_std. A `VQModel` is
decoded without its quantiser: x0_hat is a mean, of which there is no nearest code, and its derivative is then that of
the straight-through estimate. An `AutoencoderKLQwenImage`, one of videos, takes an image as one frame; it is decoded
without its cut at black and white, beyond which nothing would have a derivative. The latents of an `AutoencoderKLFlux2`
are patches of 2 x 2 cells, z = (patches - mean) / deviation, by the statistics that it has for each.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from loco.errors import ModelError
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import load_part, plain_attention

KINDS = (
    "AutoencoderKL",
    "AutoencoderTiny",
    "AutoencoderDC",
    "AutoencoderKLQwenImage",
    "AutoencoderKLFlux2",
    "VQModel",
)


class Autoencoder:
    """Images [B, 3, H, W] <-> latents [B, c, h, w]; deterministic: encoding takes the mean.

    The network may be in half precision: what goes in and comes out keeps its type.
    """

    def __init__(self, network: Any, image_shape: tuple[int, int, int]) -> None:
        self.network, self.image_shape = network, image_shape
        settings = network.config
        weight = next(network.parameters())
        self.dtype = weight.dtype
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self.decoding = {"force_not_quantize": True} if type(network).__name__ == "VQModel" else {}

        def constant(values: Any, default: float) -> Tensor:
            filled = [default] if values is None else values
            return torch.tensor(filled, dtype=wide, device=weight.device).reshape(-1, 1, 1)

        centre, spread = settings.get("latents_mean"), settings.get("latents_std")
        self.shift = constant(centre, float(settings.get("shift_factor") or 0.0))
        self.scale = float(settings.get("scaling_factor") or 1.0) / constant(spread, 1.0)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1]."""
        with plain_attention():
            found = self.network.encode(images.to(self.dtype))
        mean: Tensor = _mean(found)
        return (mean.to(images.dtype) - self.shift) * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        """Images of latents."""
        with plain_attention():
            shown = (x0 / self.scale + self.shift).to(self.dtype)
            images: Tensor = self.network.decode(shown, **self.decoding).sample
        return images.to(x0.dtype)


class OneFrame(torch.nn.Module):
    """An autoencoder of videos as one of images [B, c, h, w]: each is a video's first frame, which stands alone."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config

    def encode(self, images: Tensor) -> Any:
        """What the network makes of the frames, as `latents`."""
        return SimpleNamespace(latents=self.network.encode(images[:, :, None]).latent_dist.mean[:, :, 0])

    def decode(self, latents: Tensor) -> Any:
        """The frames, as `sample`; not cut off at -1 and 1."""
        frames = self.network.decoder(self.network.post_quant_conv(latents[:, :, None]))
        return SimpleNamespace(sample=frames[:, :, 0])


class Patches(torch.nn.Module):
    """An `AutoencoderKLFlux2` with patches of 2 x 2 cells as its latents [B, 4 c, h / 2, w / 2], normalised."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config

    def _statistics(self) -> tuple[Tensor, Tensor]:
        known = self.network.bn
        spread = (known.running_var + self.config.batch_norm_eps).sqrt()
        return known.running_mean.reshape(1, -1, 1, 1), spread.reshape(1, -1, 1, 1)

    def encode(self, images: Tensor) -> Any:
        """The images' patches, as `latents`."""
        centre, spread = self._statistics()
        cells = self.network.encode(images).latent_dist.mean
        return SimpleNamespace(latents=(pixel_unshuffle(cells, 2) - centre) / spread)

    def decode(self, latents: Tensor) -> Any:
        """The images, as `sample`."""
        centre, spread = self._statistics()
        return self.network.decode(pixel_shuffle(latents * spread + centre, 2))


_WRAPPED = {"AutoencoderKLQwenImage": OneFrame, "AutoencoderKLFlux2": Patches}


def _mean(found: Any) -> Tensor:
    """What an encoder says, or the mean of it, under the name that its class has for it."""
    if hasattr(found, "latent_dist"):
        mean: Tensor = found.latent_dist.mean
    else:
        mean = found.latents if hasattr(found, "latents") else found.latent
    return mean


def load_autoencoder(card: ModelCard, dtype: torch.dtype, device: str) -> Autoencoder:
    """The autoencoder of a model folder.

    In float16 only where its configuration says that it bears that (`force_upcast` false); else it stays in float32.
    """
    name = card.codec
    settings = read_json(card.place(name) / "config.json", card.folder, "the autoencoder's configuration")
    kind = settings.get("_class_name")
    if kind not in KINDS:
        raise ModelError(
            f"model folder {card.folder}: expected {name} to be a {', '.join(KINDS[:-1])} or {KINDS[-1]}, "
            f"found {kind!r}"
        )
    if dtype == torch.float16 and settings.get("force_upcast", True):
        dtype = torch.float32
    network = load_part(card, name, kind, dtype, device)
    wrapped = _WRAPPED[kind](network) if kind in _WRAPPED else network
    return Autoencoder(wrapped, card.image_shape)
