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

WORDS: dict[str, tuple[str, str]] = {
    "yaw": ("head turns left", "head turns right"),
    "pitch": ("head up", "head down"),
    "roll": ("head tilts left", "head tilts right"),
    "shift_x": ("head moves left", "head moves right"),
    "shift_y": ("head moves up", "head moves down"),
    "scale": ("head smaller", "head larger"),
    "face_width": ("face narrower", "face wider"),
    "face_length": ("face shorter", "face longer"),
    "jaw_width": ("jaw narrower", "jaw wider"),
    "chin": ("chin more pointed", "chin broader"),
    "skin_tone": ("skin lighter", "skin darker"),
    "skin_warmth": ("skin rosier", "skin more golden"),
    "blush": ("cheeks paler", "cheeks redder"),
    "light_azimuth": ("light from the left", "light from the right"),
    "light_elevation": ("light from below", "light from above"),
    "light_strength": ("light flatter", "light harder"),
    "eye_openness": ("eyes close", "eyes open"),
    "eye_size": ("eyes smaller", "eyes larger"),
    "eye_spacing": ("eyes closer together", "eyes further apart"),
    "gaze_x": ("gaze to the left", "gaze to the right"),
    "gaze_y": ("gaze up", "gaze down"),
    "iris_hue": ("irises browner", "irises bluer"),
    "brow_height": ("brows lower", "brows raised"),
    "brow_angle": ("brows angrier", "brows more worried"),
    "brow_thickness": ("brows thinner", "brows thicker"),
    "nose_length": ("nose shorter", "nose longer"),
    "nose_width": ("nose narrower", "nose wider"),
    "mouth_curve": ("frown", "smile"),
    "mouth_openness": ("mouth closes", "mouth opens"),
    "mouth_width": ("mouth narrower", "mouth wider"),
    "lip_thickness": ("lips thinner", "lips fuller"),
    "lip_redness": ("lips paler", "lips redder"),
    "teeth": ("teeth hidden", "teeth shown"),
    "hair_length": ("hair shorter", "hair longer"),
    "hair_volume": ("hair flatter", "hair fuller"),
    "hair_lightness": ("hair darker", "hair lighter"),
    "hair_warmth": ("hair ashier", "hair redder"),
    "fringe": ("forehead freer", "fringe longer"),
    "hair_parting": ("parting to the left", "parting to the right"),
    "glasses": ("glasses fade", "glasses appear"),
    "glasses_size": ("glasses smaller", "glasses larger"),
    "clothes_a": ("clothes more cyan", "clothes redder"),
    "clothes_b": ("clothes bluer", "clothes greener"),
    "clothes_brightness": ("clothes darker", "clothes brighter"),
    "background_a": ("background more cyan", "background redder"),
    "background_b": ("background bluer", "background greener"),
    "background_brightness": ("background darker", "background brighter"),
    "background_gradient": ("background brighter below", "background brighter above"),
}
"""What is said when an attribute falls, and when it rises; left and right are the viewer's."""

REGION: dict[str, str] = {
    one.name: next(
        (
            region
            for start, region in (
                ("mouth", "mouth"),
                ("lip", "mouth"),
                ("teeth", "mouth"),
                ("eye", "eyes"),
                ("gaze", "eyes"),
                ("iris", "eyes"),
                ("brow", "brows"),
                ("nose", "nose"),
                ("hair", "hair"),
                ("fringe", "hair"),
                ("glasses", "glasses"),
                ("clothes", "clothes"),
                ("background", "background"),
                ("skin", "skin"),
                ("blush", "skin"),
            )
            if one.name.startswith(start)
        ),
        "",
    )
    for one in ATTRIBUTES
}
"""The region that an attribute is of, empty for those of the whole head and of light."""


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


def attribute_change(
    change: NDArray[np.floating], row: NDArray[np.float32], columns: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """How far each attribute moved, in units of its range, for the change [3, H, W] of a face with attributes [A].

    `columns` is the face's `jacobian`, where it is known already.
    """
    if columns is None:
        columns = jacobian(row, change.shape[-1])
    gram = columns.T @ columns
    ridge = RIDGE * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    found = np.linalg.solve(gram + ridge, columns.T @ change.reshape(-1).astype(np.float64))
    return {one.name: float(value) for one, value in zip(ATTRIBUTES, found, strict=True)}
