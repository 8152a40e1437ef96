"""What changed in a face, in the renderer's own terms.

The renderer is a smooth map from attributes to pixels, so a small change of an image is read by least squares on its
Jacobian R at the face's true attributes: minimise ||change - R a||^2 + ridge ||a||^2, a in units of each range.
"""

import numpy as np
from numpy.typing import NDArray

from loco.zoo.faces import ATTRIBUTES, render

STEP = 0.04
"""Length of a difference, as a fraction of an attribute's range: many gray levels, little curvature."""

RIDGE = 1e-2
"""Ridge relative to the mean squared length of the columns: keeps attributes that are hardly visible at zero."""


def jacobian(row: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """d pixels / d attributes of the face with attributes [A]: [3 * size * size, A], pixels in [-1, 1], per range."""
    low = np.array([one.low for one in ATTRIBUTES], np.float32)
    high = np.array([one.high for one in ATTRIBUTES], np.float32)
    above = np.clip(row + STEP * np.diag(high - low), low, high).astype(np.float32)
    below = np.clip(row - STEP * np.diag(high - low), low, high).astype(np.float32)
    pixels = render(np.concatenate([above, below]), size, supersample=6).astype(np.float64) / 127.5
    first, second = np.moveaxis(pixels, 3, 1).reshape(2, len(row), -1)
    moved = np.diagonal(above - below) / (high - low)
    return ((first - second) / moved[:, None]).T


def attribute_change(change: NDArray[np.floating], row: NDArray[np.float32]) -> dict[str, float]:
    """How far each attribute moved, in units of its range, for the change [3, H, W] of a face with attributes [A]."""
    columns = jacobian(row, change.shape[-1])
    gram = columns.T @ columns
    ridge = RIDGE * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    found = np.linalg.solve(gram + ridge, columns.T @ change.reshape(-1).astype(np.float64))
    return {one.name: float(value) for one, value in zip(ATTRIBUTES, found, strict=True)}
