"""One forward pass on zeros: whether a model that was recognised can be run at all, and how long that takes."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from loco.diffusion.codec import codec_of
from loco.diffusion.denoiser import Denoiser
from loco.errors import LocoError, ModelError
from loco.memory import Peak, out_of_memory, peak
from loco.models.network import NetworkDenoiser

_FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    ImportError,
)
"""What networks raise of an input that they were not made for."""


@dataclass(frozen=True)
class Probe:
    """What one image took: seconds of the network, and bytes of the whole way; None where they are not known."""

    seconds: float
    bytes: int | None


def probe(denoiser: NetworkDenoiser, t: float = 0.5) -> Probe:
    """What x0_hat of one x_t = 0 at noise level t took; also encodes and decodes once.

    A model that is always told a class is told its first. Raises `ModelError` saying what the network wants, where it
    cannot be run as it was understood, or answers with what is no number; `MemoryError` where memory runs out.
    """
    card = denoiser.card
    asked: Denoiser = denoiser.told("0") if card.told == "a class" and not denoiser.condition else denoiser
    weight = next(denoiser.network.parameters())
    codec = codec_of(denoiser)
    try:
        with _peak(weight.device) as most, torch.no_grad():
            x = torch.zeros((1, *card.shape), device=weight.device, dtype=torch.float32)
            x = x.to(weight.dtype) if weight.dtype == torch.float64 else x
            begun = time.monotonic()
            x0 = asked.posterior_mean(x, t)
            seconds = time.monotonic() - begun
            picture = codec.decode(x0)
            encoded = codec.encode(torch.zeros_like(picture))
    except LocoError:
        raise
    except _FAULTS as error:
        if out_of_memory(error):
            raise MemoryError(str(error)) from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            f"model folder {card.folder}: recognised as {card.family}, but its network cannot be run so: {reason}"
        ) from error
    shapes = (tuple(x0.shape[1:]), tuple(picture.shape[1:]), tuple(encoded.shape[1:]))
    if shapes != (card.shape, card.image_shape, card.shape):
        raise ModelError(
            f"model folder {card.folder}: expected answers of the shapes {card.shape}, {card.image_shape} and "
            f"{card.shape}, found {shapes[0]}, {shapes[1]} and {shapes[2]}; its configuration is of another model"
        )
    if not bool(x0.isfinite().all()) or not bool(picture.isfinite().all()):
        raise ModelError(
            f"model folder {card.folder}: its answer to zeros is not finite; its weights are damaged, or of a type "
            f"that they do not fit into"
        )
    return Probe(seconds, most.bytes)


@contextlib.contextmanager
def _peak(device: torch.device) -> Iterator[Peak]:
    """What the block takes of the memory that the network runs in."""
    if device.type != "cuda":
        with peak() as found:
            yield found
        return
    found = Peak()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield found
    torch.cuda.synchronize(device)
    found.bytes = torch.cuda.max_memory_allocated(device) - before
