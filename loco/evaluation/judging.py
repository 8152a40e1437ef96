"""What a judge's readings say of an edit, in units of the judge's own error.

A judge does not read all of its numbers equally well: a change of one that it can hardly read is no change. So what
changes most is what changes most in units of each number's error, and not of its range.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_R2 = 0.2
"""Numbers that explain less than this of what they read are taken as if they explained so much."""


def errors_of(readings: NDArray[np.floating], r2: Sequence[float] = ()) -> NDArray[np.float64]:
    """The typical error of each number, [N], by its readings of unedited images [B, N].

    A reading that explains a share r2 of the variance scatters by sqrt(r2) of what it reads, and is off by
    sqrt(1 - r2) of it. Without r2 the scatter itself, which is a unit all the same.
    """
    scatter = np.asarray(readings, np.float64).std(axis=0)
    if len(r2):
        known = np.clip(np.asarray(r2, np.float64), LEAST_R2, 1.0)
        scatter = scatter * np.sqrt((1 - known) / known)
    return np.maximum(scatter, 1e-6)


def most_changed(
    change: NDArray[np.floating], errors: NDArray[np.floating], among: Sequence[int] | None = None
) -> int:
    """The column that changes most in units of its error, of all or `among` some."""
    sizes = np.abs(np.asarray(change, np.float64)) / errors
    if among is None:
        return int(np.argmax(sizes))
    return int(among[int(np.argmax(sizes[list(among)]))])
