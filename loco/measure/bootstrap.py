"""The bootstrap over images: how far a mean or median would be off had others of their kind been looked at.

Percentile intervals (Efron, Annals of Statistics 7, 1979). Everything measured on one image stands or falls together:
images are drawn, not what was measured on them. The same images give the same interval, whenever they are asked.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
"""Resamples that an interval is made of."""

LEVEL = 0.95
"""Share of the resamples within the interval."""

Statistic = Literal["mean", "median"]


def interval(
    values: NDArray[np.floating], statistic: Statistic = "mean", images: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The statistic over the first axis, and the low and high end of its 95 % interval.

    Args:
        values: What was measured, [n] or [n, k], one row an image.
        statistic: `mean`, or `median` (of [n] alone).
        images: The image of each row where several rows are of one.

    Raises `ValueError` without a row.
    """
    if not len(values):
        raise ValueError("an interval of nothing; expected at least one image")
    known = np.asarray(values, np.float64)
    names, place = np.unique(range(len(known)) if images is None else images, return_inverse=True)
    found = _weighted(known, _resamples(len(names))[:, place], statistic)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(found[1:], (tail, 1 - tail), axis=0)
    return found[0], low, high


@lru_cache(maxsize=8)
def _resamples(count: int) -> NDArray[np.int64]:
    """How often each of so many images is taken, [1 + DRAWS, count]; first each once."""
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    every = np.concatenate([np.ones((1, count), np.int64), draws])
    every.setflags(write=False)
    return every


def _weighted(
    values: NDArray[np.float64], weights: NDArray[np.int64], statistic: Statistic
) -> NDArray[np.float64]:
    """The statistic of values [n] or [n, k], each taken as often as weights [draws, n] say."""
    if statistic == "mean":
        sums = weights.sum(1)
        return np.asarray(weights @ values / (sums if values.ndim == 1 else sums[:, None]))
    order = np.argsort(values)
    heaped = weights[:, order].cumsum(1)
    half = heaped[:, -1:] / 2
    # The middle value; of an even number, the mean of both.
    lower, upper = (heaped < half).sum(1), (heaped <= half).sum(1)
    ordered = values[order]
    return np.asarray((ordered[lower] + ordered[np.minimum(upper, len(values) - 1)]) / 2)
