"""Half precision for networks alone: what is computed with their answers stays in float32.

A network in `bfloat16` or `float16` takes half the memory and, on a GPU, a fraction of the time. Points, vectors, sums
and solvers stay in float32; the network's input is rounded and its output widened (`loco.models.network`).
"""

from typing import Any

import torch


def algebra(dtype: str) -> torch.dtype:
    """The type of points and vectors under a recipe's `dtype`: that one, but float32 for a half."""
    return {"float64": torch.float64}.get(dtype, torch.float32)


def rounding(denoiser: Any) -> torch.dtype | None:
    """The half type that the network inside a denoiser rounds to; None where it computes in its input's type."""
    inner: Any = denoiser
    for _ in range(8):  # an edit wraps a guided denoiser, which wraps a prompted one
        found = getattr(inner, "rounding", None)
        if isinstance(found, torch.dtype):
            return found
        deeper = next(
            (
                getattr(inner, name)
                for name in ("original", "conditioned", "denoiser")
                if hasattr(inner, name)
            ),
            None,
        )
        if deeper is None:
            return None
        inner = deeper
    return None
