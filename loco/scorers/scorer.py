"""A scorer: images in, named numbers out, with a gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.errors import UnknownName

Score = Callable[[Tensor], Tensor]
"""Images [B, 3, H, W] in [-1, 1] to numbers: [B, N] of a whole scorer, [B] of one of its numbers."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """Anything that turns images into named numbers, differentiably.

    Attributes:
        id: Hash of its weights and of all else that decides its numbers.
        source: What it was opened from, for people.
        names: What its numbers are called, in order.
        words: Of each number, what is said when it falls and when it rises: `mouth closes`, `mouth opens`.
        unit: What a difference of 1 in its numbers means.
        score: Images [B, 3, H, W] in [-1, 1], of any size, to [B, N].
        r2: The share of each number's variance that it explains on unseen images; empty where nobody measured.
    """

    id: str
    source: str
    names: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    unit: str
    score: Score
    r2: tuple[float, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        """The numbers of images [B, 3, H, W] in [-1, 1]: [B, N]."""
        return self.score(images)

    def column(self, name: str) -> int:
        """The column of the number of that name, in any case; raises `UnknownName`."""
        lower = [one.lower() for one in self.names]
        if name.lower() not in lower:
            known = ", ".join(self.names[:60]) + (" ..." if len(self.names) > 60 else "")
            raise UnknownName(f"scorer {self.source} has no number {name[:80]!r}; it has: {known}")
        return lower.index(name.lower())

    def one(self, name: str) -> Score:
        """The number of that name alone, images to [B]; raises `UnknownName`."""
        column = self.column(name)
        return lambda images: self.score(images)[:, column]


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images [B, C, H, W] at another size, smoothed where they shrink; a gradient goes through."""
    if images.shape[2:] == (height, width):
        return images
    return torch.nn.functional.interpolate(
        images, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
