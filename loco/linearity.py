"""How far a direction stays linear: the posterior mean f at x_t + lambda v against its first-order prediction.

    change      f(x_t + lambda v) - f(x_t)      prediction    lambda J v

The two are compared as *changes*. LOCO Edit's own figures (Section 3) compare f(x_t + lambda v) with
f(x_t) + lambda J v, which the unedited image dominates; `loco.measure.analysis` has those.
"""

from collections.abc import Callable

import torch
from torch import Tensor

NORM_RATIO = (0.9, 1.1)
"""Bounds of ||change|| / ||prediction|| within which a strength counts as linear."""

COSINE = 0.95
"""Least cosine between change and prediction."""

RISING = tuple(2 ** (step / 2) for step in range(13))
"""Strengths tried first, 1 to 64 by half octaves, until each direction has left the range."""

FALLING = tuple(2.0**-step for step in range(1, 7))
"""Tried for directions that are beyond at 1 already: on small or rough images a strength of 1 is much."""


def linear_range(
    f: Callable[[Tensor], Tensor], x: Tensor, vectors: Tensor, responses: Tensor, chunk: int
) -> tuple[list[float | None], int]:
    """The strength up to which each direction is linear, for both signs; and the evaluations that it took.

    Args:
        f: The posterior mean, [B, C, H, W] -> [B, C', H', W'].
        x: The point, [C, H, W].
        vectors: Unit directions, [k, D].
        responses: J v, [k, M].
        chunk: Evaluations at a time.

    Between the last strength within the bounds and the first beyond, the place is interpolated in the measure that
    left its bounds. None means that even the least strength tried is beyond; 64, that all are within.
    """
    evaluations = 1
    with torch.no_grad():
        base = f(x[None]).to(vectors.dtype).flatten(1)

    def strained(strength: float, numbers: list[int]) -> list[float]:
        nonlocal evaluations
        rows = torch.tensor(numbers, device=vectors.device)
        signed = torch.cat([strength * vectors[rows], -strength * vectors[rows]])
        predicted = torch.cat([strength * responses[rows], -strength * responses[rows]])
        changes = []
        for part in signed.split(chunk):
            with torch.no_grad():
                values = f((x.to(vectors.dtype) + part.reshape(-1, *x.shape)).to(x.dtype))
            changes.append(values.to(vectors.dtype).flatten(1) - base)
            evaluations += len(part)
        worst: list[float] = strains(torch.cat(changes), predicted).reshape(2, -1).amax(dim=0).tolist()
        return worst

    found: list[float | None] = [None] * len(vectors)
    last: dict[int, tuple[float, float]] = {}
    active = list(range(len(vectors)))
    for strength in RISING:
        if not active:
            break
        still = []
        for number, now in zip(active, strained(strength, active), strict=True):
            if now <= 1:
                found[number] = strength
                still.append(number)
            elif strength > RISING[0]:
                found[number] = _between(*last[number], strength, now)
            last[number] = (strength, now)
        active = still
    active = [number for number, reach in enumerate(found) if reach is None]
    for strength in FALLING:
        if not active:
            break
        still = []
        for number, now in zip(active, strained(strength, active), strict=True):
            if now <= 1:
                found[number] = _between(strength, now, *last[number])
            else:
                still.append(number)
            last[number] = (strength, now)
        active = still
    return found, evaluations


def _between(low: float, below: float, high: float, above: float) -> float:
    """Where the strain reaches 1, between a strength with strain `below` 1 and one with strain `above`."""
    return low + (1 - below) / (above - below) * (high - low)


def strains(changes: Tensor, predicted: Tensor) -> Tensor:
    """How far each change [k, M] is towards its bounds: 0 is exactly linear, above 1 is beyond. [k]."""
    lengths, expected = changes.norm(dim=1), predicted.norm(dim=1).clamp_min(1e-30)
    cosine = (changes * predicted).sum(dim=1) / (lengths * expected).clamp_min(1e-30)
    ratio = lengths / expected
    low, high = NORM_RATIO
    return torch.stack([(1 - ratio) / (1 - low), (ratio - 1) / (high - 1), (1 - cosine) / (1 - COSINE)]).amax(
        dim=0
    )
