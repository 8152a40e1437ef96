"""What is measured about edits and models."""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def psnr(first: FloatArray, second: FloatArray, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB between arrays of one shape whose values span `span`; inf when equal."""
    error = float(np.mean((np.asarray(first, np.float64) - np.asarray(second, np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def mean_squared_change(change: FloatArray, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean squared change per pixel inside and outside `mask` [H, W], for a change [C, H, W]."""
    per_pixel = np.square(np.asarray(change, np.float64)).mean(axis=0)
    inside = float(per_pixel[mask].mean()) if mask.any() else 0.0
    outside = float(per_pixel[~mask].mean()) if (~mask).any() else 0.0
    return inside, outside


def locality(change: FloatArray, mask: NDArray[np.bool_]) -> float:
    """Mean squared change per pixel inside the mask over that outside; inf when nothing changes outside."""
    inside, outside = mean_squared_change(change, mask)
    return inside / outside if outside > 0 else math.inf


def cosine(first: FloatArray, second: FloatArray) -> float:
    """Cosine of the angle between two arrays taken as vectors; 0 when one of them vanishes."""
    a, b = np.asarray(first, np.float64).ravel(), np.asarray(second, np.float64).ravel()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0
