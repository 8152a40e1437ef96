"""The strength at which a direction is shown where none is recommended: visible, and within its linear range."""

import math

from loco.direction import Direction
from registry.registry import Registry

TARGET = 0.35
"""RMS change inside the region, in units of [-1, 1], that is enough to be seen; less where linearity ends before."""


def recommended(registry: Registry, direction: Direction) -> float:
    """The strength that was recommended where its transfer was measured, else the suited one."""
    told = registry.beside([direction]).get(direction.id, {}).get("strength")
    return shown_at(direction, told)


def shown_at(direction: Direction, told: float | None) -> float:
    """The strength that a direction is shown at, where `told` is the one that is recommended, if any is."""
    return told if told and math.isfinite(told) else suited_strength(direction)


def suited_strength(direction: Direction) -> float:
    """The strength of a first-order RMS change of `TARGET` inside the region.

    Never beyond the linear range, where that is known; 0 for a direction that changes nothing.
    """
    one = first_order_change(direction, 1.0)
    if not math.isfinite(one) or one <= 0:
        return 0.0
    wanted = TARGET / one
    return float(f"{min(wanted, direction.linear_range or wanted):.2g}")


def first_order_change(direction: Direction, strength: float) -> float:
    """First-order RMS change inside the region, in units of [-1, 1]."""
    return strength * direction.gain / math.sqrt(direction.roi_area * math.prod(direction.shape))
