"""Identity: how much of an image's other readings an edit leaves, by how far other images are from it.

Leakage, PSNR and SSIM say what stays of the pixels outside a region; this says what stays of the rest of the image's
meaning. 1 where no reading changes but the region's own, 0 where they change as much as from one image to another.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def identities(
    meanings: NDArray[np.floating], own: Sequence[int], readings: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Identity of edits, [n], at most 1.

    Args:
        meanings: By how much each edit changed each reading, [n, N].
        own: Columns of the region's own things, which are to change.
        readings: Of images as they are, [m, N], two at least: their spread is the unit of each reading.

    One where no other reading is left.
    """
    rest = [k for k in range(readings.shape[1]) if k not in set(own)]
    if not rest:
        return np.ones(len(meanings))
    spread = np.maximum(readings[:, rest].std(axis=0), 1e-6)
    apart = np.linalg.norm((readings[:, None, rest] - readings[None, :, rest]) / spread, axis=2)
    usual = float(np.median(apart[np.triu_indices(len(readings), 1)]))
    moved = np.linalg.norm(np.asarray(meanings, np.float64)[:, rest] / spread, axis=1)
    return np.asarray(1 - moved / max(usual, 1e-6))


def columns(names: Sequence[str], things: Mapping[str, Sequence[str]], roi: str) -> list[int]:
    """Columns of a region's own things; none where nobody says which they are."""
    own = set(things.get(roi, ()))
    return [k for k, name in enumerate(names) if name in own]
