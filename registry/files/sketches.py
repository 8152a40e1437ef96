"""Sketches: a direction's vector as a few numbers whose angles are about those of the vectors.

A sparse Johnson-Lindenstrauss projection (Kane and Nelson, arXiv 1012.1577): every coordinate is added, with a random
sign, to `ROWS` of the sketch's numbers. One fixed projection per vector shape, drawn from raw bits that no version
of numpy may change, so that sketches of any two machines can be compared.
"""

import functools

import numpy as np
from numpy.typing import NDArray

SKETCH = 128
"""Numbers in a direction's sketch."""

ROWS = 8
"""Numbers of the sketch that each coordinate is added to; `SKETCH` is a multiple of it."""

_SEED = 240902374


def sketch(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit sketches [n, SKETCH] of vectors [n, C, H, W]; zero for a vector of zeros.

    A shape with no more coordinates than the sketch has numbers is kept as it is, and the angles are exact.
    """
    shape = vectors.shape[1:]
    size = int(np.prod(shape))
    flat = vectors.reshape(len(vectors), size).astype(np.float64)
    if size <= SKETCH:
        found = np.zeros((len(flat), SKETCH))
        found[:, :size] = flat
    else:
        order, starts, signs = _projection(shape)
        found = np.empty((len(flat), SKETCH))
        for row in range(ROWS):
            moved = flat[:, order[row]] * signs[row]
            found[:, row::ROWS] = np.add.reduceat(moved, starts[row], axis=1)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit = np.divide(found, length, out=np.zeros_like(found), where=length > 0)
    found32: NDArray[np.float32] = unit.astype(np.float32)
    return found32


@functools.lru_cache(maxsize=8)
def _projection(
    shape: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each of `ROWS`: coordinates sorted by bucket, where each bucket starts, and the signs in that order.

    The buckets of one row are of equal size (to within one), so that none is empty.
    """
    size = int(np.prod(shape))
    bits = np.random.PCG64([_SEED, *shape]).random_raw(ROWS * size).reshape(ROWS, size)
    order = np.argsort(bits, axis=1, kind="stable")
    buckets = SKETCH // ROWS
    starts = np.tile((np.arange(buckets) * size) // buckets, (ROWS, 1))
    # The highest bits sorted the coordinates; the lowest one is free to be a sign.
    signs = np.where(np.take_along_axis(bits, order, axis=1) & np.uint64(1), 1.0, -1.0)
    return order, starts, signs
