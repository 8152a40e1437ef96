"""Between images and what a model diffuses: nothing for a pixel model, an autoencoder for a latent one.

Regions live in pixels and x_t in latents, so the decoder stands behind the posterior mean: the map whose Jacobian is
taken is f(z_t) = decode(E[z0 | z_t]) (LOCO Edit, Eq. 9). The cheap way is to leave the decoder out and to map the
region to latent cells: `Roi.at(*denoiser.shape[1:])`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from loco.diffusion.denoiser import Denoiser


class Codec(Protocol):
    """The way from images to x0 and back."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of the images."""

    def encode(self, images: Tensor) -> Tensor:
        """x0 [B, c, h, w] of images [B, 3, H, W] in [-1, 1]."""

    def decode(self, x0: Tensor) -> Tensor:
        """Images [B, 3, H, W], about [-1, 1] and not clipped, of x0 [B, c, h, w]."""


@dataclass(frozen=True)
class Pixels:
    """A pixel model diffuses the image itself."""

    image_shape: tuple[int, int, int]

    def encode(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def decode(self, x0: Tensor) -> Tensor:
        """The images."""
        return x0


_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as image libraries have it."""


@dataclass(frozen=True)
class Grey:
    """A model of one channel diffuses the image's grey; what it says is shown in all three."""

    image_shape: tuple[int, int, int]

    def encode(self, images: Tensor) -> Tensor:
        """Grey [B, 1, H, W]."""
        return (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)

    def decode(self, x0: Tensor) -> Tensor:
        """Images of three equal channels."""
        return x0.expand(-1, 3, -1, -1)


def codec_of(denoiser: Denoiser) -> Codec:
    """The denoiser's own codec; `Pixels` where it has none."""
    found: Codec | None = getattr(denoiser, "codec", None)
    return Pixels(denoiser.shape) if found is None else found


def seen(denoiser: Denoiser, t: float, *, decoded: bool = True) -> Callable[[Tensor], Tensor]:
    """The map x_t [B, C, H, W] -> image [B, 3, H', W'] of the posterior mean at t.

    Without `decoded` it is x_t -> x0_hat, also for a latent model.
    """
    codec = codec_of(denoiser)
    if not decoded or isinstance(codec, Pixels):
        return lambda x_t: denoiser.posterior_mean(x_t, t)
    return lambda x_t: codec.decode(denoiser.posterior_mean(x_t, t))
