"""What edits mean to a scorer: how each of its numbers moves over images, whether that is more than chance, in words.

Of each number and each sign of a direction, over images: the mean change with a bootstrap interval, the share of images
in which it rises, and the two-sided signed-rank test (Wilcoxon), corrected for how many numbers were looked at (Holm).
What is beyond chance and moves most is said in words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loco.measure.bootstrap import interval

CHANCE = 0.05
"""Corrected probability below which a change is beyond chance."""

SAID, SHARE = 3, 0.5
"""At most so many changes are said, each at least this fraction of the greatest."""

EXACT = 60
"""Images up to which probabilities are counted; beyond, they are those of a normal distribution."""


@dataclass(frozen=True)
class Moved:
    """How one number moves when a direction is added to images.

    Attributes:
        name: The number's.
        change: Its mean change, in the scorer's unit.
        low, high: Ends of the 95 % bootstrap interval of that mean, over images.
        rising: The share of images in which it rises; of those in which it moves at all.
        chance: The corrected probability of such changes without any effect.
    """

    name: str
    change: float
    low: float
    high: float
    rising: float
    chance: float

    @property
    def beyond_chance(self) -> bool:
        """Whether it moves."""
        return self.chance < CHANCE

    @property
    def agreeing(self) -> float:
        """The share of images that move as the mean does."""
        return self.rising if self.change > 0 else 1 - self.rising


def moved(before: NDArray[np.floating], after: NDArray[np.floating], names: Sequence[str]) -> list[Moved]:
    """How each number moves from `before` to `after`, both [images, numbers]; raises `ValueError` without an image."""
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    images, numbers = change.shape
    if not images or numbers != len(names):
        raise ValueError(
            f"expected readings [images, {len(names)}] of at least one image, found {change.shape}"
        )
    mean, low, high = interval(change)
    up, down = (change > 0).sum(axis=0), (change < 0).sum(axis=0)
    chances = holm([signed_rank(column) for column in change.T])
    return [
        Moved(
            name,
            float(mean[k]),
            float(low[k]),
            float(high[k]),
            float(up[k] / max(1, up[k] + down[k])),
            chances[k],
        )
        for k, name in enumerate(names)
    ]


def signed_rank(changes: NDArray[np.floating]) -> float:
    """The probability of changes [images] as lopsided as these, either way, if each sign were as likely as the other.

    Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945), exact up to `EXACT` images: large changes count for more.
    """
    known = np.asarray(changes, np.float64)
    known = known[known != 0]
    sizes = np.abs(known)
    if not len(known):
        return 1.0
    _, places, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    doubled = (2 * counts.cumsum() - counts + 1)[places]  # twice the mean rank of each
    total, upper = int(doubled.sum()), int(doubled[known > 0].sum())
    least = min(upper, total - upper)
    if len(known) > EXACT:
        spread = math.sqrt(float(np.square(doubled, dtype=np.float64).sum()))
        return min(1.0, math.erfc((total / 2 - least) / (spread / 2) / math.sqrt(2)))
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[: total + 1 - rank].copy()
    return min(1.0, 2 * float(ways[: least + 1].sum()) / 2.0 ** len(known))


def holm(chances: Sequence[float]) -> list[float]:
    """Probabilities corrected for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    found, greatest = [0.0] * len(chances), 0.0
    for rank, k in enumerate(sorted(range(len(chances)), key=lambda k: chances[k])):
        greatest = max(greatest, min(1.0, (len(chances) - rank) * chances[k]))
        found[k] = greatest
    return found


@dataclass(frozen=True)
class Name:
    """What a direction does, in words: what is said, and of what it is made.

    Attributes:
        text: Such as `mouth opens, lips redder`.
        score: The least share of images in which one of these moves as it is said.
        parts: What is said, the greatest change first.
    """

    text: str
    score: float
    parts: tuple[Moved, ...]


def named(found: Sequence[Moved], words: Sequence[tuple[str, str]]) -> Name | None:
    """The name of what moved, or None where nothing is beyond chance; `words` are those of falling and of rising."""
    told = [(one, pair) for one, pair in zip(found, words, strict=True) if one.beyond_chance]
    told.sort(key=lambda pair: -abs(pair[0].change))
    if not told:
        return None
    least = SHARE * abs(told[0][0].change)
    told = [one for one in told if abs(one[0].change) >= least][:SAID]
    parts = tuple(one for one, _ in told)
    text = ", ".join(pair[one.change > 0] for one, pair in told)
    return Name(text, min(one.agreeing for one in parts), parts)
