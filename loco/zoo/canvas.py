"""What scenes are drawn with: signed distances, coverage, colours and compositing.

Coordinates.  The frame spans [-1, 1] in both axes, x to the viewer's right and y downwards; a length of 2 is
the frame's side.  A shape is the set where a function close to a signed distance is negative.  Its coverage is
``clip(1/2 - d / edge, 0, 1)`` with an edge of about one sample, which makes every pixel a Lipschitz function of
every attribute.  Layers are composited back to front.  The canvas can also track how much of each pixel belongs to
each region: painting coverage ``a`` for region k maps the weights w to ``(1 - a) w + a e_k``, so they stay a
partition of one.

All parameters of scenes have shape [B, 1, 1] and broadcast against sample planes of shape [B, H, W].
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating]
Window = tuple[slice, slice]
Colour = Sequence[Plane]

WHOLE: Window = (slice(None), slice(None))


def smooth_max(a: Plane, b: Plane, width: float) -> Plane:
    """Maximum of two planes, rounded over ``width``."""
    gap = a - b
    rounded: Plane = 0.5 * (a + b + np.sqrt(gap * gap + np.float32(width * width)))
    return rounded


def bump(dx: Plane, dy: Plane, rx: float | Plane, ry: float | Plane) -> Plane:
    """Gaussian exp(-(dx/rx)^2 - (dy/ry)^2)."""
    a, b = dx / rx, dy / ry
    value: Plane = np.exp(-(a * a + b * b))
    return value


def ellipse(dx: Plane, dy: Plane, rx: float | Plane, ry: float | Plane) -> Plane:
    """Approximate signed distance to an axis-aligned ellipse, exact to first order at its rim."""
    a, b = dx / rx, dy / ry
    radius = np.sqrt(a * a + b * b) + np.float32(1e-6)
    ax, by = a / rx, b / ry
    distance: Plane = radius * (radius - 1) / (np.sqrt(ax * ax + by * by) + np.float32(1e-6))
    return distance


def palette(position: Plane, stops: Sequence[Sequence[float]]) -> list[Plane]:
    """Piecewise linear colour map on [0, 1]; ``stops`` are equidistant RGB colours."""
    grid = np.linspace(0.0, 1.0, len(stops))
    return [np.interp(position, grid, [s[c] for s in stops]).astype(np.float32) for c in range(3)]


def chroma(bright: Plane, a: Plane, b: Plane) -> list[Plane]:
    """Colour of a brightness in [0, 1] and a position (a, b) in the hue plane, clipped to [0, 1]."""
    gain = (0.10 + 0.30 * bright).astype(np.float32)
    level = 0.10 + 0.75 * bright
    red = level + gain * (0.95 * a)
    green = level + gain * (-0.45 * a + 0.75 * b)
    blue = level + gain * (-0.45 * a - 0.85 * b)
    return [np.clip(c, 0.02, 0.99) for c in (red, green, blue)]


def tint(colour: Colour, shade: Plane) -> list[Plane]:
    """Colour under a relative illumination; shadows turn slightly warm."""
    offset = shade - 1
    return [colour[0] * (1 + 0.85 * offset), colour[1] * shade, colour[2] * (1 + 1.08 * offset)]


def scaled(colour: Colour, factor: float | Plane) -> list[Plane]:
    """Colour times a factor."""
    return [c * factor for c in colour]


class Canvas:
    """Colour planes [3, B, S, S] in [0, 1] and, if ``track``, weights [L, B, S, S]; first all is ``ground``."""

    def __init__(self, layers: Sequence[str], ground: str, count: int, samples: int, track: bool) -> None:
        self.layers = tuple(layers)
        self.rgb = np.zeros((3, count, samples, samples), np.float32)
        self.weights: NDArray[np.float32] | None = None
        if track:
            self.weights = np.zeros((len(layers), count, samples, samples), np.float32)
            self.weights[self.layers.index(ground)] = 1

    def paint(self, alpha: Plane, colour: Colour, region: str | None = None, window: Window = WHOLE) -> None:
        """Composite ``colour`` with coverage ``alpha`` over the window; ``region`` None keeps the regions."""
        ys, xs = window
        for c in range(3):
            target = self.rgb[c, :, ys, xs]
            target += alpha * (colour[c] - target)
        if region is not None and self.weights is not None:
            part = self.weights[:, :, ys, xs]
            part *= 1 - alpha
            part[self.layers.index(region)] += alpha
