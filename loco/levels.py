"""Noise levels that can be compared between schedules. t cannot: 0.4 of a cosine schedule is 0.2 of a linear one.

What a level is, is told by alpha_bar = signal^2 / (signal^2 + noise^2), or by the ratio of the two powers:

    snr = alpha_bar / (1 - alpha_bar),    log_snr = ln(snr)

The same level can be said as `snr:1.9`, `logsnr:0.64` or `abar:0.655`; a model's schedule tells which t that is.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loco.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("snr", "logsnr", "abar")

_BOUND = 100.0
"""Of a log_snr: beyond, one of the two is no number any more next to the other."""


@dataclass(frozen=True)
class Wanted:
    """A level that was asked for by its signal and noise: the text, and what it means."""

    text: str
    log_snr: float


def log_snr(alpha_bar: float | None) -> float | None:
    """ln(alpha_bar / (1 - alpha_bar)); None where alpha_bar is not known, 0 or 1."""
    if alpha_bar is None or not 0 < alpha_bar < 1:
        return None
    return math.log(alpha_bar) - math.log1p(-alpha_bar)


def wanted(text: str) -> Wanted | None:
    """What `snr:X`, `logsnr:X` or `abar:X` mean; None for a text that is not of that form.

    Raises `InputError` for numbers that are no level.
    """
    kind, colon, number = text.strip().partition(":")
    if not colon or kind not in KINDS:
        return None
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    low, high = {"snr": (0.0, math.exp(_BOUND)), "logsnr": (-_BOUND, _BOUND), "abar": (0.0, 1.0)}[kind]
    if not low < value < high:
        told = {
            "snr": "a signal-to-noise ratio above 0 (of powers; its logarithm is said as logsnr:X)",
            "logsnr": f"the logarithm of a signal-to-noise ratio, within {-_BOUND:g} and {_BOUND:g}",
            "abar": "an alpha_bar between 0 and 1",
        }[kind]
        raise InputError(f"{kind}:X: expected {told}, found {text!r:.80}")
    if kind == "logsnr":
        return Wanted(text, value)
    found = math.log(value) if kind == "snr" else log_snr(value)
    return None if found is None else Wanted(text, found)


def t_of(level: Wanted, alpha_bar: "NDArray[np.float64]", whose: str) -> float:
    """The t in (0, 1) of the training step whose log_snr is nearest, as few digits as tell that step.

    Args:
        level: What is wanted.
        alpha_bar: [T], decreasing: that of each training step.
        whose: The schedule's owner, for the message.

    Raises `InputError` for a level beyond the schedule's.
    """
    import numpy as np

    inside = np.flatnonzero((alpha_bar > 0) & (alpha_bar < 1))
    known = np.log(alpha_bar[inside]) - np.log1p(-alpha_bar[inside])
    if not len(known) or not known.min() - 1e-6 <= level.log_snr <= known.max() + 1e-6:
        reach = [f"snr:{math.exp(one):.3g}" for one in (known.min(), known.max())] if len(known) else ["none"]
        raise InputError(f"{whose} has no level {level.text}: its levels are {' to '.join(reach)}")
    step, last = int(inside[np.abs(known - level.log_snr).argmin()]), len(alpha_bar) - 1
    # The first and the last step are told by a t beside 0 and 1, which are no levels to edit at.
    exact = min(max(step, 0.25), last - 0.25) / last
    for digits in range(1, 17):
        t = round(exact, digits)
        if 0 < t < 1 and round(t * last) == step:
            return t
    return exact
