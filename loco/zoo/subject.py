"""What a renderer of the zoo draws: a smooth, seeded map from a vector of named attributes to an image with regions.

A subject is a box in R^A, A attributes, and a way to draw its points: layers whose shapes depend smoothly on the
attributes are composited on a canvas (:mod:`loco.zoo.canvas`). Its images are therefore a low-dimensional manifold
whose coordinates have plain meanings: a ground truth for statements such as "this direction moves the mouth".

Coordinates: the frame is [-1, 1] x [-1, 1], x to the viewer's right, y downwards, pixel (i, j) centred at
x = (2 j + 1) / size - 1, y = (2 i + 1) / size - 1. Left and right always mean the viewer's left and right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from loco.zoo.canvas import Canvas, Plane

_SAMPLES_PER_CHUNK = 1 << 16


@dataclass(frozen=True)
class Attribute:
    """One coordinate of a scene: its name, closed range [low, high], default value and meaning (with unit)."""

    name: str
    low: float
    high: float
    default: float
    meaning: str


def signed(name: str, meaning: str, default: float = 0.0) -> Attribute:
    """An attribute in [-1, 1]."""
    return Attribute(name, -1.0, 1.0, default, meaning)


def unit(name: str, default: float, meaning: str) -> Attribute:
    """An attribute in [0, 1]."""
    return Attribute(name, 0.0, 1.0, default, meaning)


@dataclass(frozen=True)
class Scenes:
    """Images with ground truth.

    ``images``: uint8 [B, H, W, 3].  ``masks``: bool [B, H, W] for every region of the subject.
    ``attributes``: float32 [B, A].
    """

    images: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]
    attributes: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """What there is to draw.

    Attributes:
        name: What it is called on the command line.
        about: What is drawn and where, as a model's card says it.
        typical: Regions that models are measured on.
        attributes: The coordinates, in the order of the columns of an attribute array.
        layers: Regions that partition the image: each pixel belongs to the one with the largest visible coverage.
        joined: Further regions, each the union of some layers.
        regions: All regions, in the order in which they are shown.
        draw: Draws scenes with parameters [B, 1, 1] on a samples x samples grid; the flag asks for region weights.
        shapes: (a, b) of the beta distributions on the range that differ from the uniform one.
        absent: Attributes that are opacities, with the share of scenes in which they are 0; else they lie in
            [0.6, 1].
    """

    name: str
    about: str
    typical: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    layers: tuple[str, ...]
    regions: tuple[str, ...]
    draw: Callable[[Mapping[str, Plane], int, bool], Canvas]
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def column(self) -> dict[str, int]:
        """Each attribute's column."""
        return {one.name: i for i, one in enumerate(self.attributes)}

    @cached_property
    def low(self) -> NDArray[np.float32]:
        """Lower ends of the ranges, [A]."""
        return np.array([one.low for one in self.attributes], np.float32)

    @cached_property
    def high(self) -> NDArray[np.float32]:
        """Upper ends of the ranges, [A]."""
        return np.array([one.high for one in self.attributes], np.float32)

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Independent random attributes, float32 [count, A].  Raises ValueError if ``count`` is negative."""
        if count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        shapes = np.array([self.shapes.get(one.name, (1.0, 1.0)) for one in self.attributes])
        drawn = rng.beta(shapes[:, 0], shapes[:, 1], (count, len(self.attributes))).astype(np.float32)
        values = np.clip(self.low + drawn * (self.high - self.low), self.low, self.high)
        for name, share in self.absent.items():
            column = self.column[name]
            there = np.clip((values[:, column] - share) / (1 - share), 0, 1)
            values[:, column] = np.where(values[:, column] > share, 0.6 + 0.4 * there, 0)
        return values

    def values(self, **named: float) -> NDArray[np.float32]:
        """The default scene with named overrides, float32 [1, A].

        Raises ValueError that names an unknown attribute or one whose value lies outside its range.
        """
        row = np.array([[one.default for one in self.attributes]], np.float32)
        for name, value in named.items():
            if name not in self.column:
                raise ValueError(f"unknown attribute {name!r}; known: {', '.join(self.column)}")
            row[0, self.column[name]] = value
            self._check_range(row[:, self.column[name]], name)
        return row

    def render(
        self, attributes: NDArray[np.float32], size: int, *, supersample: int | None = None
    ) -> NDArray[np.uint8]:
        """Images uint8 [B, size, size, 3] of attributes [B, A].

        Each pixel is the mean of ``supersample`` x ``supersample`` samples (default 3 up to size 48, 2 up to 160,
        else 1), each of which has a soft edge itself.  Raises ValueError for a wrong shape, a value outside its
        range, or a size or supersample below 1.
        """
        return _to_bytes(self._render(attributes, size, supersample, False)[0])

    def rendered(
        self, attributes: NDArray[np.float32], size: int, *, supersample: int | None = None
    ) -> Scenes:
        """The pixels of :meth:`render` together with the region masks.  Raises as :meth:`render` does."""
        images, found = self._render(attributes, size, supersample, True)
        assert found is not None
        masks = {name: found == i for i, name in enumerate(self.layers)}
        for name, parts in self.joined.items():
            masks[name] = np.logical_or.reduce([masks[part] for part in parts])
        shown = {name: masks[name] for name in self.regions}
        return Scenes(_to_bytes(images), shown, np.array(attributes, np.float32))

    def scenes(self, seed: int, count: int, size: int) -> Scenes:
        """Random scenes; scene i depends on (seed, i) only.

        Raises ValueError if ``seed`` or ``count`` is negative or ``size`` is below 1.
        """
        if seed < 0 or count < 0:
            raise ValueError(f"seed and count must not be negative, got {seed} and {count}")
        rows = [self.sample(np.random.default_rng([seed, i]), 1) for i in range(count)]
        table = np.concatenate(rows) if rows else np.empty((0, len(self.attributes)), np.float32)
        return self.rendered(table, size)

    def _render(
        self, values: NDArray[np.float32], size: int, supersample: int | None, track: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Images as float32 [B, H, W, 3] in [0, 255] and, if ``track``, the layer index [B, H, W]."""
        table = np.asarray(values, np.float32)
        if table.ndim != 2 or table.shape[1] != len(self.attributes):
            raise ValueError(
                f"attributes must have shape [B, {len(self.attributes)}], got {list(table.shape)}"
            )
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        factor = _default_supersample(size) if supersample is None else supersample
        if factor < 1:
            raise ValueError(f"supersample must be at least 1, got {factor}")
        for name, column in self.column.items():
            self._check_range(table[:, column], name)
        samples = size * factor
        chunk = max(1, _SAMPLES_PER_CHUNK // (samples * samples))
        images = np.empty((len(table), size, size, 3), np.float32)
        found = np.empty((len(table), size, size), np.uint8) if track else None
        for start in range(0, len(table), chunk):
            part = table[start : start + chunk]
            p = {name: part[:, i].reshape(-1, 1, 1) for name, i in self.column.items()}
            canvas = self.draw(p, samples, track)
            mean = _area_mean(np.clip(canvas.rgb, 0, 1), factor)
            images[start : start + chunk] = 255 * np.moveaxis(mean, 0, -1)
            if found is not None and canvas.weights is not None:
                found[start : start + chunk] = np.argmax(_area_mean(canvas.weights, factor), axis=0)
        return images, found

    def _check_range(self, column: NDArray[np.float32], name: str) -> None:
        index = self.column[name]
        bad = ~((column >= self.low[index]) & (column <= self.high[index]))
        if bad.any():
            one = self.attributes[index]
            raise ValueError(
                f"attribute {name!r} must lie in [{one.low}, {one.high}], got {float(column[bad][0])}"
            )


def _default_supersample(size: int) -> int:
    return 3 if size <= 48 else 2 if size <= 160 else 1


def _area_mean(planes: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean over factor x factor blocks of the last two axes."""
    if factor == 1:
        return planes
    rows: NDArray[np.float32] = planes[..., 0::factor, :].copy()
    for i in range(1, factor):
        rows += planes[..., i::factor, :]
    total: NDArray[np.float32] = rows[..., 0::factor].copy()
    for i in range(1, factor):
        total += rows[..., i::factor]
    return total / np.float32(factor * factor)


def _to_bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (images + np.float32(0.5)).astype(np.uint8)
