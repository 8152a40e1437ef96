"""Memory to plan with, on whichever device a network runs."""

from typing import Any

import torch
from torch import Tensor

from loco.memory import spare_bytes

SMALL = 3 * 64 * 64, 20_000_000
"""Numbers in x_t, and weights, up to which a network is small: `loco.linalg.jacobian.CHUNK` vectors fit anywhere."""


def is_small(denoiser: Any, x: Tensor) -> bool:
    """Whether a network's graph need not be measured before vectors are chosen: it, and its decoder, are small."""
    numbers, weights = SMALL
    inner: Any = denoiser
    for _ in range(8):  # an edit wraps a guided denoiser, which wraps a prompted one
        if hasattr(inner, "network"):
            break
        names = ("original", "conditioned", "denoiser")
        inner = next((getattr(inner, name) for name in names if hasattr(inner, name)), None)
    networks = (getattr(inner, "network", None), getattr(getattr(inner, "codec", None), "network", None))
    count = sum(one.numel() for each in networks if each is not None for one in each.parameters())
    return x.numel() <= numbers and count <= weights


def room(device: str | torch.device) -> int:
    """Bytes that this process may plan to use there: of main memory half of what is free, of a GPU's three quarters."""
    if torch.device(device).type != "cuda":
        return spare_bytes()
    free = torch.cuda.mem_get_info(device)[0]
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + held) * 3 // 4
