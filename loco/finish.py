"""From a change to an output file: confined to a mask, added to the source, with all that the source carries."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from loco.images import Format, Picture, apply_change, encode


def feather(mask: NDArray[np.bool_], width: float = 2.0) -> NDArray[np.float32]:
    """Weights float32 [H, W] in [0, 1] that confine a change to a mask: exactly 0 outside, rising inwards.

    Inside, the weight grows linearly over about `width` pixels from the border; the border of the image is none.
    """
    radius = max(0, round(width))
    if radius == 0 or not mask.any():
        return mask.astype(np.float32)
    inner, layers = Image.fromarray(np.pad(mask, radius + 1, mode="edge").astype(np.uint8) * 255), 1
    total = mask.astype(np.float32)
    for _ in range(radius):  # each erosion takes one pixel off the border
        inner = inner.filter(ImageFilter.MinFilter(3))
        total += np.asarray(inner)[radius + 1 : -radius - 1, radius + 1 : -radius - 1] > 0
        layers += 1
    return total / np.float32(layers)


def finish(
    picture: Picture, change: NDArray[np.float32], format: Format, weight: NDArray[np.float32] | None = None
) -> bytes:
    """The bytes of an output file: the picture plus a change float32 [3, h, w], with all that the picture carries.

    Alpha, colour profile and EXIF orientation are kept (jpg has no alpha: the colours over white are written); other
    EXIF is not, because it may say where somebody lives. `weight` [H, W], at the picture's size, scales the change.
    A zero change gives the picture's own pixels. Raises `ImageError` for a change that is not finite.
    """
    flat = picture.bare is None or format == "jpg"
    source = picture.pixels if flat or picture.bare is None else picture.bare
    result = source if not change.any() else apply_change(source, change, weight)
    return encode(
        result, format, alpha=None if flat else picture.alpha, profile=picture.profile, turn=picture.turn
    )
