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

from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loco.zoo import face_parts
from loco.zoo.subject import Attribute, Scenes, Subject
from loco.zoo.subject import signed as _signed
from loco.zoo.subject import unit as _unit

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
FACES: Final = Subject(
    name="faces",
    about="Portraits drawn by `loco/zoo/faces.py` from 48 independent attributes (pose, light, skin, eyes, brows, "
    "nose, mouth, hair, glasses, clothes, background) and their mirror images. No photograph and no person's "
    "likeness is in them.",
    typical=("mouth", "eyes", "hair"),
    attributes=ATTRIBUTES,
    layers=face_parts.LAYERS,
    regions=REGIONS,
    draw=face_parts.draw,
    joined={"eyes": ("left_eye", "right_eye")},
    shapes=_BETA,
    absent={"glasses": 0.75},
)
"""``glasses`` is 0 for three faces in four and uniform on [0.6, 1] otherwise."""

BALD: Final = replace(FACES, draw=partial(face_parts.draw, hair=False))
"""The same faces without hair, which nothing was trained on: what an edit of hair does where there is none."""

Faces = Scenes
"""Portraits with ground truth."""

THINGS: dict[str, tuple[str, ...]] = {
    "mouth": ("mouth_curve", "mouth_openness", "mouth_width", "lip_thickness", "lip_redness", "teeth"),
    "eyes": ("eye_openness", "eye_size", "eye_spacing", "gaze_x", "gaze_y", "iris_hue"),
    "hair": ("hair_length", "hair_volume", "hair_lightness", "hair_warmth", "fringe", "hair_parting"),
    "brows": ("brow_height", "brow_angle", "brow_thickness"),
    "nose": ("nose_length", "nose_width"),
    "glasses": ("glasses", "glasses_size"),
    "clothes": ("clothes_a", "clothes_b", "clothes_brightness"),
    "background": ("background_a", "background_b", "background_brightness", "background_gradient"),
}
"""Attributes that are a region's own: what an edit there should be about."""


def sample_attributes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Independent random attributes, float32 [count, A], as :meth:`Subject.sample` gives them."""
    return FACES.sample(rng, count)


def attributes(**values: float) -> NDArray[np.float32]:
    """The default face with named overrides, float32 [1, A], as :meth:`Subject.values` gives it."""
    return FACES.values(**values)


def render(
    attributes: NDArray[np.float32], size: int, *, supersample: int | None = None
) -> NDArray[np.uint8]:
    """Portraits uint8 [B, size, size, 3] of attributes [B, A], as :meth:`Subject.render` gives them."""
    return FACES.render(attributes, size, supersample=supersample)


def render_faces(attributes: NDArray[np.float32], size: int, *, supersample: int | None = None) -> Faces:
    """The pixels of :func:`render` together with the region masks."""
    return FACES.rendered(attributes, size, supersample=supersample)


def faces(seed: int, count: int, size: int) -> Faces:
    """Random portraits; face i depends on (seed, i) only."""
    return FACES.scenes(seed, count, size)
