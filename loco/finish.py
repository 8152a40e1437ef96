"""From a change to an output file: confined to a mask, added to the source, with all that the source carries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from loco.formats import FORMATS, Format
from loco.images import Picture, apply_change, encode
from loco.marks import exif, xmp

EDGE = 2.0
"""Least width of a feathered edge in pixels."""


def feather(mask: NDArray[np.bool_], width: float = EDGE) -> NDArray[np.float32]:
    """Weights float32 [H, W] in [0, 1] that confine a change to a mask: exactly 0 outside, rising inwards.

    Inside, the weight grows linearly over about `width` pixels from the border; the border of the image is none. A
    region that is narrower than so wide an edge has a narrower one, so that its middle is not held back.
    """
    radius = max(0, round(width))
    if radius == 0 or not mask.any():
        return mask.astype(np.float32)
    inner, layers = Image.fromarray(np.pad(mask, radius + 1, mode="edge").astype(np.uint8) * 255), 1
    total = mask.astype(np.float32)
    for _ in range(radius):  # each erosion takes one pixel off the border
        inner = inner.filter(ImageFilter.MinFilter(3))
        if radius > EDGE and not inner.getbbox():
            break
        total += np.asarray(inner)[radius + 1 : -radius - 1, radius + 1 : -radius - 1] > 0
        layers += 1
    return total / np.float32(layers)


def edge_of(mask: NDArray[np.bool_], fraction: float) -> float:
    """Width in pixels of an edge that is told as a fraction of the picture's shorter side, `EDGE` at least."""
    return max(EDGE, fraction * min(mask.shape))


@dataclass(frozen=True, eq=False)
class Finished:
    """An output before it is encoded: upright pixels uint8 [H, W, 3], and alpha [H, W] where it is kept."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None


def changed(
    picture: Picture, change: NDArray[np.float32], format: Format, weight: NDArray[np.float32] | None = None
) -> Finished:
    """The picture plus a change float32 [3, h, w]; `weight` [H, W], at the picture's size, scales the change.

    Alpha is kept (jpg has none: the colours over white are changed). A zero change gives the picture's own pixels.
    Raises `ImageError` for a change that is not finite.
    """
    flat = picture.bare is None or not FORMATS[format].transparent
    source = picture.pixels if flat or picture.bare is None else picture.bare
    pixels = source if not change.any() else apply_change(source, change, weight)
    return Finished(pixels, None if flat else picture.alpha)


def finish(
    picture: Picture, change: NDArray[np.float32], format: Format, weight: NDArray[np.float32] | None = None
) -> bytes:
    """The bytes of an output file without a mark: `changed`, with the picture's profile, orientation, EXIF and XMP.

    EXIF and XMP that cannot be kept are left out. Raises `ImageError` for a change that is not finite.
    """
    done = changed(picture, change, format, weight)
    own_exif, own_xmp, _ = carried(picture, format)
    return encode(
        done.pixels,
        format,
        alpha=done.alpha,
        profile=picture.profile,
        turn=picture.turn,
        exif=own_exif,
        xmp=own_xmp,
    )


def carried(picture: Picture, format: Format) -> tuple[bytes | None, bytes | None, tuple[str, ...]]:
    """The picture's own EXIF and XMP as a file of that format can have them, and notes on what it cannot."""
    most = FORMATS[format].room
    kept_exif, about_exif = exif.kept(picture.exif, most)
    kept_xmp, about_xmp = xmp.kept(picture.xmp, most)
    return kept_exif, kept_xmp, (*about_exif, *about_xmp)
