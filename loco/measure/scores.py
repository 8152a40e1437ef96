"""What the scores of one direction on many images come to (`loco/measure/transfer.py` measures them)."""

from collections.abc import Mapping, Sequence
from statistics import median

from loco.evidence import RESPONDS

FIGURES = ("gain", "leakage", "cosine", "change_inside", "change_outside")


def summary(figures: Sequence[Mapping[str, float]], own_gain: float) -> dict[str, float | int | None]:
    """Medians over the images of each of `FIGURES` (None where no image has it), their number, the share that responds.

    `own_gain` is the direction's gain at the image that it was found on.
    """
    found: dict[str, float | int | None] = {"images": len(figures)}
    for name in FIGURES:
        values = [one[name] for one in figures if name in one]
        found[name] = median(values) if values else None
    responding = sum(one["gain"] >= RESPONDS * own_gain for one in figures)
    found["responding"] = responding / len(figures) if figures else None
    return found
