"""The strength at which a direction is shown where none is recommended: visible, and within its linear range."""

import math

from loco.direction import Direction

TARGET = 0.35
"""RMS change inside the region, in units of [-1, 1], that is enough to be seen; less where linearity ends before."""


def suited_strength(direction: Direction) -> float:
    """The strength that is recommended, else that of a first-order RMS change of `TARGET` inside the region.

    Never beyond the linear range, where that is known; 0 for a direction that changes nothing.
    """
    told: float | None = getattr(direction, "strength", None)
    if told:
        return told
    one = first_order_change(direction, 1.0)
    if not math.isfinite(one) or one <= 0:
        return 0.0
    wanted = TARGET / one
    return float(f"{min(wanted, direction.linear_range or wanted):.2g}")


def first_order_change(direction: Direction, strength: float) -> float:
    """First-order RMS change inside the region, in units of [-1, 1]."""
    return strength * direction.gain / math.sqrt(direction.roi_area * math.prod(direction.shape))
