"""Synthetic face portraits: a smooth, seeded map from a vector of named attributes to an image with regions.

A face is a point of a box in R^A, A = ``len(ATTRIBUTES)``: pose, head shape, skin, light, eyes, brows, nose,
mouth, hair, glasses, clothes and background.  :func:`render` maps that box to images continuously: each
layer is a signed-distance function that depends smoothly on the attributes, its coverage has a soft edge of
about one sample, and the layers are composited back to front (see :mod:`loco.zoo.face_parts`).  The image set
is therefore a low-dimensional manifold whose coordinates have plain meanings, which makes it a ground truth
for statements such as "this latent direction moves the mouth".

Coordinates: the frame is [-1, 1] x [-1, 1], x to the viewer's right, y downwards, pixel (i, j) centred at
x = (2 j + 1) / size - 1, y = (2 i + 1) / size - 1.  Left and right always mean the viewer's left and right.

Regions: every pixel belongs to exactly one of left_eye, right_eye, brows, nose, mouth, hair, skin, glasses,
clothes, background, the one with the largest visible coverage; ``eyes`` is left_eye | right_eye.  An eye is
its opening with the lid line, the mouth is lips and interior, ears and neck are skin.  Shading has no region.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loco.zoo import face_parts


@dataclass(frozen=True)
class Attribute:
    """One coordinate of a face: its name, closed range [low, high], default value and meaning (with unit)."""

    name: str
    low: float
    high: float
    default: float
    meaning: str


def _signed(name: str, meaning: str, default: float = 0.0) -> Attribute:
    return Attribute(name, -1.0, 1.0, default, meaning)


def _unit(name: str, default: float, meaning: str) -> Attribute:
    return Attribute(name, 0.0, 1.0, default, meaning)


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("yaw", -24.0, 24.0, 0.0, "turn of the head in degrees, positive towards the viewer's right"),
    Attribute("pitch", -14.0, 14.0, 0.0, "nod of the head in degrees, positive downwards"),
    Attribute("roll", -8.0, 8.0, 0.0, "tilt of the head in degrees, positive clockwise"),
    Attribute("shift_x", -0.06, 0.06, 0.0, "head position in half frame widths, positive to the right"),
    Attribute("shift_y", -0.05, 0.05, 0.0, "head position in half frame heights, positive downwards"),
    Attribute("scale", 0.96, 1.10, 1.04, "size of the head relative to the standard portrait"),
    _signed("face_width", "narrow to wide face"),
    _signed("face_length", "short to long face"),
    _signed("jaw_width", "narrow to wide jaw"),
    _signed("chin", "pointed to broad chin"),
    _unit("skin_tone", 0.25, "light to dark skin"),
    _signed("skin_warmth", "rosy to golden skin"),
    _unit("blush", 0.3, "redness of the cheeks"),
    Attribute("light_azimuth", -70.0, 70.0, -25.0, "light direction in degrees, positive from the right"),
    Attribute("light_elevation", -15.0, 60.0, 25.0, "light direction in degrees above the horizon"),
    _unit("light_strength", 0.6, "contrast of the directed light; 0 is flat light"),
    _unit("eye_openness", 0.65, "closed to wide open eyes"),
    _signed("eye_size", "small to large eyes"),
    _signed("eye_spacing", "close-set to wide-set eyes"),
    _signed("gaze_x", "gaze to the viewer's left to right"),
    _signed("gaze_y", "gaze upwards to downwards"),
    _unit("iris_hue", 0.2, "brown, hazel, green, teal, blue"),
    _signed("brow_height", "low to raised brows"),
    _signed("brow_angle", "inner ends down (angry) to inner ends up (worried)"),
    _unit("brow_thickness", 0.5, "thin to thick brows"),
    _signed("nose_length", "short to long nose"),
    _signed("nose_width", "narrow to wide nose"),
    _signed("mouth_curve", "frown to smile", 0.3),
    _unit("mouth_openness", 0.1, "closed to wide open mouth"),
    _signed("mouth_width", "narrow to wide mouth"),
    _signed("lip_thickness", "thin to full lips"),
    _unit("lip_redness", 0.4, "skin-coloured to red lips"),
    _unit("teeth", 0.9, "visibility of the upper teeth in an open mouth"),
    _unit("hair_length", 0.3, "ear-length to shoulder-length hair"),
    _unit("hair_volume", 0.5, "flat to voluminous hair"),
    _unit("hair_lightness", 0.35, "black, brown, light brown, blond"),
    _signed("hair_warmth", "ash to red hair"),
    _unit("fringe", 0.4, "free forehead to forehead covered by hair"),
    _signed("hair_parting", "parting at the viewer's left to right"),
    _unit("glasses", 0.0, "opacity of glasses; 0 is none"),
    _signed("glasses_size", "small to large glasses"),
    _signed("clothes_a", "clothes colour, first hue coordinate: cyan to red"),
    _signed("clothes_b", "clothes colour, second hue coordinate: blue to green", -0.5),
    _unit("clothes_brightness", 0.5, "dark to bright clothes"),
    _signed("background_a", "background colour, first hue coordinate: cyan to red"),
    _signed("background_b", "background colour, second hue coordinate: blue to green"),
    _unit("background_brightness", 0.7, "dark to bright background"),
    _signed("background_gradient", "background brighter at the bottom to brighter at the top", 0.3),
)
"""The coordinates of a face, in the order of the columns of an attribute array."""

REGIONS: tuple[str, ...] = (
    "left_eye",
    "right_eye",
    "eyes",
    "brows",
    "nose",
    "mouth",
    "hair",
    "skin",
    "glasses",
    "clothes",
    "background",
)
"""Keys of :attr:`Faces.masks`."""

_COLUMN = {a.name: i for i, a in enumerate(ATTRIBUTES)}
_LOW = np.array([a.low for a in ATTRIBUTES], np.float32)
_HIGH = np.array([a.high for a in ATTRIBUTES], np.float32)
# Shapes of the beta distributions (on the range) that differ from the uniform one.
_BETA: dict[str, tuple[float, float]] = {
    "yaw": (1.6, 1.6),
    "pitch": (2.0, 2.0),
    "roll": (2.0, 2.0),
    "shift_x": (1.5, 1.5),
    "shift_y": (1.5, 1.5),
    "scale": (1.5, 1.5),
    "eye_openness": (2.2, 1.2),
    "mouth_curve": (1.3, 1.0),
    "mouth_openness": (0.8, 1.3),
    "blush": (1.0, 1.4),
    "teeth": (1.6, 0.9),
    "skin_tone": (0.9, 1.2),
    "gaze_x": (1.4, 1.4),
    "gaze_y": (1.6, 1.6),
}
_WITHOUT_GLASSES = 0.75
_SAMPLES_PER_CHUNK = 1 << 16


@dataclass(frozen=True)
class Faces:
    """Portraits with ground truth.

    ``images``: uint8 [B, H, W, 3].  ``masks``: bool [B, H, W] for every name in :data:`REGIONS`.
    ``attributes``: float32 [B, A].
    """

    images: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]
    attributes: NDArray[np.float32]


def sample_attributes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Independent random attributes, float32 [count, A].

    Each is uniform or broadly beta distributed on its range; ``glasses`` is 0 for three faces in four and
    uniform on [0.6, 1] otherwise.  Raises ValueError if ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    shapes = np.array([_BETA.get(a.name, (1.0, 1.0)) for a in ATTRIBUTES])
    unit = rng.beta(shapes[:, 0], shapes[:, 1], (count, len(ATTRIBUTES))).astype(np.float32)
    values = np.clip(_LOW + unit * (_HIGH - _LOW), _LOW, _HIGH)
    column = _COLUMN["glasses"]
    worn = np.clip((values[:, column] - _WITHOUT_GLASSES) / (1 - _WITHOUT_GLASSES), 0, 1)
    values[:, column] = np.where(values[:, column] > _WITHOUT_GLASSES, 0.6 + 0.4 * worn, 0)
    return values


def attributes(**values: float) -> NDArray[np.float32]:
    """The default face with named overrides, float32 [1, A].

    Raises ValueError that names an unknown attribute or one whose value lies outside its range.
    """
    row = np.array([[a.default for a in ATTRIBUTES]], np.float32)
    for name, value in values.items():
        if name not in _COLUMN:
            raise ValueError(f"unknown attribute {name!r}; known: {', '.join(_COLUMN)}")
        row[0, _COLUMN[name]] = value
        _check_range(row[:, _COLUMN[name]], name)
    return row


def _check_range(column: NDArray[np.float32], name: str) -> None:
    index = _COLUMN[name]
    bad = ~((column >= _LOW[index]) & (column <= _HIGH[index]))
    if bad.any():
        a = ATTRIBUTES[index]
        raise ValueError(f"attribute {name!r} must lie in [{a.low}, {a.high}], got {float(column[bad][0])}")


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


def _render(
    values: NDArray[np.float32], size: int, supersample: int | None, track: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Images as float32 [B, H, W, 3] in [0, 255] and, if ``track``, the layer index [B, H, W]."""
    table = np.asarray(values, np.float32)
    if table.ndim != 2 or table.shape[1] != len(ATTRIBUTES):
        raise ValueError(f"attributes must have shape [B, {len(ATTRIBUTES)}], got {list(table.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    factor = _default_supersample(size) if supersample is None else supersample
    if factor < 1:
        raise ValueError(f"supersample must be at least 1, got {factor}")
    for name in _COLUMN:
        _check_range(table[:, _COLUMN[name]], name)
    samples = size * factor
    chunk = max(1, _SAMPLES_PER_CHUNK // (samples * samples))
    images = np.empty((len(table), size, size, 3), np.float32)
    layers = np.empty((len(table), size, size), np.uint8) if track else None
    for start in range(0, len(table), chunk):
        part = table[start : start + chunk]
        p = {name: part[:, i].reshape(-1, 1, 1) for name, i in _COLUMN.items()}
        canvas = face_parts.draw(p, samples, track)
        mean = _area_mean(np.clip(canvas.rgb, 0, 1), factor)
        images[start : start + chunk] = 255 * np.moveaxis(mean, 0, -1)
        if layers is not None and canvas.weights is not None:
            layers[start : start + chunk] = np.argmax(_area_mean(canvas.weights, factor), axis=0)
    return images, layers


def _to_bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (images + np.float32(0.5)).astype(np.uint8)


def render(
    attributes: NDArray[np.float32], size: int, *, supersample: int | None = None
) -> NDArray[np.uint8]:
    """Portraits uint8 [B, size, size, 3] of attributes [B, A].

    Each pixel is the mean of ``supersample`` x ``supersample`` samples (default 3 up to size 48, 2 up to 160,
    else 1), each of which has a soft edge itself.  Raises ValueError for a wrong shape, a value outside its
    range, or a size or supersample below 1.
    """
    return _to_bytes(_render(attributes, size, supersample, False)[0])


def render_faces(attributes: NDArray[np.float32], size: int, *, supersample: int | None = None) -> Faces:
    """The pixels of :func:`render` together with the region masks.  Raises as :func:`render` does."""
    images, layers = _render(attributes, size, supersample, True)
    assert layers is not None
    masks = {name: layers == i for i, name in enumerate(face_parts.LAYERS)}
    masks["eyes"] = masks["left_eye"] | masks["right_eye"]
    return Faces(_to_bytes(images), {name: masks[name] for name in REGIONS}, np.array(attributes, np.float32))


def faces(seed: int, count: int, size: int) -> Faces:
    """Random portraits; face i depends on (seed, i) only.

    Raises ValueError if ``seed`` or ``count`` is negative or ``size`` is below 1.
    """
    if seed < 0 or count < 0:
        raise ValueError(f"seed and count must not be negative, got {seed} and {count}")
    rows = [sample_attributes(np.random.default_rng([seed, i]), 1) for i in range(count)]
    table = np.concatenate(rows) if rows else np.empty((0, len(ATTRIBUTES)), np.float32)
    return render_faces(table, size)
