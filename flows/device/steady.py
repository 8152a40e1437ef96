"""A network to be run forwards that gives the same bits whichever images come together, and bends when memory runs out.

Kernels differ by the size of a batch, and so do the last bits of what they give; from `LEAST` images on they do not
(measured on the embedded model: batches of 5 to 64 agree bit by bit, 1 and 4 do not). So smaller batches of small
images are filled up, and what is made of an image does not depend on which chunk, and which runner, it came with.
"""

import gc

import torch
from torch import Tensor

from loco.diffusion.codec import Codec, codec_of
from loco.diffusion.denoiser import Denoiser
from loco.memory import out_of_memory

LEAST = 8
"""Places that a batch has at least."""

SMALL = 3 * 64 * 64
"""Numbers in an image up to which batches are filled up; larger images would cost too much, and fill a device alone."""

_MOST: dict[str, int] = {}
"""Network -> images that this process may give it at once, once memory ran out."""


class SteadyDenoiser:
    """The posterior mean of `denoiser`, without derivatives; `halved` counts how often memory ran out."""

    def __init__(self, denoiser: Denoiser, key: str, least: int = LEAST) -> None:
        """`key` names the network within this process; batches of small images have at least `least` places."""
        self.denoiser, self.key, self.least, self.halved = denoiser, key, least, 0
        self.name, self.shape, self.schedule = denoiser.name, denoiser.shape, denoiser.schedule
        self.codec: Codec = codec_of(denoiser)

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t; raises what the device does for one image."""
        while True:
            most = _MOST.get(self.key)
            filled = self.least if x_t[0].numel() <= SMALL else 1
            width = max(len(x_t), filled) if most is None else min(most, len(x_t))
            try:
                return torch.cat([self._mean(part, t) for part in torch.split(x_t, most or len(x_t))])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or width <= 1:
                    raise
            self.halved += 1
            _MOST[self.key] = width // 2
            free()

    def _mean(self, x_t: Tensor, t: float) -> Tensor:
        missing = self.least - len(x_t)
        if missing <= 0 or x_t[0].numel() > SMALL or self.key in _MOST:
            return self.denoiser.posterior_mean(x_t, t)
        filled = torch.cat([x_t, x_t[-1:].expand(missing, *x_t.shape[1:])])
        return self.denoiser.posterior_mean(filled, t)[: len(x_t)]


def free() -> None:
    """Give back to the device what a failed attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
