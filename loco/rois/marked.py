"""Which pixels of a mask file are inside: one rule for all the ways in which masks are stored.

1. Where its alpha has values on both sides of half, what is opaque is inside. Alpha that has not says nothing.
2. Of a palette image index 0 is outside and every other index inside; its colours mean nothing.
3. Of two levels, 0 and a whole number, the other one is inside, whatever it is: 1, 7, 255. Not in a JPEG.
4. Otherwise the strongest channel counts, and inside is from half of full scale on. Full scale is 255 for 8 bits, and
   for 16 bits, 32 bits and floats the first of 1, 255, 65535 that holds the file's values.

What can be read in two ways is refused: alpha and values that mark different pixels, negative values, NaN.
docs/masks.md shows it as a table of examples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.decoding import alpha_of
from loco.errors import ImageError

_SCALES = (1, 255, 65535)
_OVER, _UNDER = 1.5, 0.25
"""Resampling overshoots: values up to this times a full scale belong to it, and down to minus this of the greatest."""

_ALIKE = 0.5
"""Alpha and values say the same when of the pixels that either marks both mark this fraction."""


@dataclass(frozen=True)
class Marked:
    """What a mask file says.

    Attributes:
        mask: bool [H, W], True inside.
        note: What a reader of the result should know of how it was read, or empty.
        cause: Why no pixel is inside although the file is not black, or empty.
    """

    mask: NDArray[np.bool_]
    note: str = ""
    cause: str = ""


def marked(picture: Image.Image, place: object) -> Marked:
    """The pixels that a mask in any mode marks; `place` is for messages. Raises `ImageError` for what is no mask."""
    values, levels = _values(picture, place)
    alpha = alpha_of(picture)
    if alpha is None:
        return values
    opaque = alpha >= 128
    if opaque.all():
        return values
    if not opaque.any():  # nothing of it is to be seen; some programs write such alpha beside sound values
        whole = bool(values.mask.all())
        return Marked(np.zeros_like(opaque), cause="all of it is transparent") if whole else values
    if levels == 2:
        both = np.count_nonzero(opaque & values.mask)
        if both < _ALIKE * np.count_nonzero(opaque | values.mask):
            raise ImageError(
                f"{place}: its alpha marks {_share(opaque)} of the pixels and its values mark {_share(values.mask)}, "
                "others: save it with only one of the two"
            )
    return Marked(opaque)


def _share(mask: NDArray[np.bool_]) -> str:
    return f"{100 * np.count_nonzero(mask) / mask.size:.3g} %"


def _values(picture: Image.Image, place: object) -> tuple[Marked, int]:
    """What the values mark, alpha left aside, and how many levels of them there are (3 for more than two)."""
    if picture.mode in ("P", "PA"):
        index = np.asarray(picture if picture.mode == "P" else picture.getchannel(0))
        return Marked(index > 0, _palette_note(picture, index)), _levels(index)
    if picture.mode == "1":
        mask = np.asarray(picture).astype(np.bool_)
        return Marked(mask), _levels(mask)
    deep = picture.mode == "F" or picture.mode.startswith("I")
    strongest = np.asarray(picture) if deep else np.asarray(picture.convert("RGB")).max(axis=2)
    levels = _levels(strongest)
    low, high = float(strongest.min()), float(strongest.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{place}: the mask has values that are NaN or infinite")
    lossy = picture.format == "JPEG"
    if not lossy and levels == 2 and low == 0 < high and high == int(high):
        return Marked(strongest > 0), levels
    full = 255.0 if lossy else next((one for one in _SCALES if high <= _OVER * one), high)
    if not deep and not lossy and high > 1:
        full = 255.0
    if low < -_UNDER * high or low < 0 >= high:
        raise ImageError(
            f"{place}: the mask has values from {low:g} to {high:g}; expected 0 to 1, to 255 or to 65535"
        )
    mask = strongest >= full / 2
    faint = high > 0 and not mask.any()
    cause = f"its greatest value is {high:g}, and inside is from {full / 2:g} on" if faint else ""
    return Marked(mask, cause=cause), levels


def _levels(values: NDArray[np.generic]) -> int:
    """1, 2, or 3 for more: sorting all values of a large float mask would take seconds."""
    flat = values.ravel()
    other = flat[flat != flat[0]]
    return 1 if not len(other) else 2 if (other == other[0]).all() else 3


def _palette_note(picture: Image.Image, index: NDArray[np.generic]) -> str:
    """A note where the convention may not be the writer's: index 0 is white and something else is black."""
    colours = np.asarray(picture.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    used = [int(one) for one in np.unique(index) if int(one) < len(colours)]
    if 0 in used and colours[0].min() == 255 and any(colours[one].max() == 0 for one in used):
        return "palette index 0, white here, is taken for outside"
    return ""
