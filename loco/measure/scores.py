"""What the scores of one direction on many images come to (`loco/measure/transfer.py` measures them)."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loco.measure.bootstrap import Statistic, interval
from loco.measure.strength import recommended

RESPONDS = 0.05
"""An image responds where the direction's gain at it is at least this fraction of its gain where it was found: the
least effect from which `loco apply` makes an edit (`EditRecipe.min_effect`)."""

ALIKE = 0.5
"""Least cosine of an image's change to the mean change of others that counts as the same change."""

FIGURES = ("gain", "leakage", "cosine", "change_inside", "change_outside")

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 10

EXAMPLES = 3
"""Images of each kind that are named as examples."""

STRENGTHS = ("strengths", "suits")
"""What `carried` tells of strengths in its details."""


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


def carried(figures: Mapping[str, Mapping[str, float]], own_gain: float, absent: int = 0) -> dict[str, Any]:
    """How a direction does over images: the figures of `loco.evidence.TRANSFER`, with `transfer_low`, `transfer_high`.

    Args:
        figures: Those of each image that has the region, by its id: `gain`, `alike`, `leakage`, and what
            `loco.measure.strength.curve` gives of some of them.
        own_gain: The direction's gain where it was found.
        absent: Images without the region: they are no-ops.

    With `details`: under `spread`, for each figure, `quantiles` (5, 25, 50, 75, 95 %), a `histogram` and the 95 %
    bootstrap `interval` over images of its median, or of a share; `examples` of images that respond `most`, `middling`
    and `hardly`; `strengths`, perceptually even ones of both signs, and the share `suits` of images that the
    recommended one suits. None for what was not measured.
    """
    ids, rows = list(figures), list(figures.values())
    responds = np.array([one["gain"] >= RESPONDS * own_gain for one in rows], float)
    same = np.array([one.get("alike", 1.0) > ALIKE for one in rows], float) * responds
    everyone = np.concatenate([responds, np.zeros(absent)])
    spread: dict[str, Any] = {}
    found: dict[str, Any] = {"transfer": _share(same), "responding": _share(everyone)}
    found["no_op"] = None if found["responding"] is None else 1 - found["responding"]
    if rows:
        spread["transfer"] = {"interval": _interval(same, "mean")}
    if len(everyone):
        least, most = _interval(everyone, "mean")
        spread["responding"] = {"interval": [least, most]}
        spread["no_op"] = {"interval": [1 - most, 1 - least]}
    names = {
        "transfer_gain": "gain",
        "transfer_leakage": "leakage",
        "transfer_cosine": "alike",
        "transfer_range": "linear_range",
    }
    for name, source in names.items():
        values = np.array([one[source] for one in rows if source in one], float)
        found[name] = float(np.median(values)) if len(values) else None
        if len(values):
            spread[name] = _spread(values)
    low, high = spread["transfer"]["interval"] if rows else (None, None)
    details: dict[str, Any] = {"spread": spread, "examples": _examples(ids, rows), "absent": absent}
    strength = recommended(rows)
    if strength is not None:
        details["strengths"] = [*reversed(strength.minus), *strength.plus]
        details["suits"] = strength.suits
        found |= {
            "strength": strength.strength,
            "strength_least": strength.least,
            "strength_most": strength.most,
        }
    return {**found, "transfer_low": low, "transfer_high": high, "details": details}


def _share(values: NDArray[np.floating]) -> float | None:
    return float(values.mean()) if len(values) else None


def _spread(values: NDArray[np.floating]) -> dict[str, Any]:
    """Quantiles, a histogram and the interval of the median."""
    counts, edges = np.histogram(values, BINS)
    return {
        "quantiles": [_short(one) for one in np.quantile(values, QUANTILES)],
        "histogram": {"low": _short(edges[0]), "high": _short(edges[-1]), "counts": counts.tolist()},
        "interval": _interval(values, "median"),
    }


def _interval(values: NDArray[np.floating], statistic: Statistic) -> list[float]:
    _, low, high = interval(values, statistic)
    return [_short(float(low)), _short(float(high))]


def _examples(ids: Sequence[str], rows: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """Images that respond most, middling and hardly, the strongest first; none is named twice."""
    order = [ids[k] for k in sorted(range(len(ids)), key=lambda k: (-rows[k]["gain"], ids[k]))]
    count = min(EXAMPLES, -(-len(order) // 3))
    middle = (len(order) - count) // 2
    found: dict[str, list[str]] = {}
    for name, start in (("most", 0), ("hardly", len(order) - count), ("middling", middle)):
        taken = {one for several in found.values() for one in several}
        found[name] = [one for one in order[max(0, start) : max(0, start) + count] if one not in taken]
    return {name: found[name] for name in ("most", "middling", "hardly")}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
