"""Arrays as tiles, tiles as strips and sheets: no network, no catalogue."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
"""uint8 [H, W, 3]."""

SIDE = 96
"""Height of a tile in pixels; small images grow to it in whole steps."""

GAP = 4
MARK = (232, 89, 12)
"""The colour of a region's outline."""

_HEAT = np.array(
    [(0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)], np.float64
)
"""From no change to the greatest: dark to light, so that it is read without colours too."""


def about_gray(vector: NDArray[np.float32]) -> Pixels:
    """A direction [C, h, w] with zero in middle gray, so that what is left alone looks alike in all."""
    shown = vector[:3] if len(vector) >= 3 else np.repeat(vector[:1], 3, axis=0)
    most = max(float(np.abs(shown).max()), 1e-12)
    return _bytes(0.5 + 0.5 * shown / most)


def shaded(mask: NDArray[np.bool_]) -> Pixels:
    """A region [h, w]: white on dark gray."""
    return np.repeat(np.where(mask, 235, 40).astype(np.uint8)[..., None], 3, axis=2)


def heat(change: NDArray[np.float32]) -> Pixels:
    """The amount of a change [3, h, w] at each pixel, from none (dark) to its own greatest (light)."""
    amount = np.sqrt((change.astype(np.float64) ** 2).mean(axis=0))
    scaled = amount / max(float(amount.max()), 1e-12) * (len(_HEAT) - 1)
    planes = [np.interp(scaled, np.arange(len(_HEAT)), _HEAT[:, plane]) for plane in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def pixels_of(image: NDArray[np.float32]) -> Pixels:
    """A model's image [3, h, w] in [-1, 1], clipped."""
    return _bytes((image + 1) / 2)


def tile(pixels: Pixels, side: int = SIDE) -> Pixels:
    """The pixels at about `side` high: small ones in whole steps, so that each stays a square; large ones shrunk."""
    height, width = pixels.shape[:2]
    if height >= side:
        size = (max(1, round(width * side / height)), side)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    times = max(1, round(side / height))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def outlined(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """A tile with the border of a region [h, w] of any size drawn on it."""
    height, width = pixels.shape[:2]
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    large = np.pad(mask[rows][:, columns], 1, mode="edge")
    inner = large[1:-1, 1:-1]
    whole = large[:-2, 1:-1] & large[2:, 1:-1] & large[1:-1, :-2] & large[1:-1, 2:]
    result = pixels.copy()
    result[inner & ~whole] = MARK
    return result


def row_of(tiles: Sequence[Pixels]) -> Pixels:
    """Tiles of one height beside each other."""
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for one in tiles for part in (one, gap)]
    return np.concatenate(parts[:-1], axis=1)


def png(pixels: Pixels) -> bytes:
    """The bytes of a PNG."""
    data = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, "PNG")
    return data.getvalue()


def page(rows: Sequence[tuple[str, Pixels]]) -> bytes:
    """A PNG of strips below each other, each under its line of text."""
    font = ImageFont.load_default(13)
    width = max((strip.shape[1] for _, strip in rows), default=400) + 2 * GAP
    height = sum(strip.shape[0] + 26 for _, strip in rows) + 2 * GAP
    sheet = Image.new("RGB", (max(width, 400), max(height, 30)), "white")
    draw, y = ImageDraw.Draw(sheet), GAP
    for text, strip in rows:
        draw.text((GAP, y + 3), text, fill=(28, 31, 36), font=font)
        sheet.paste(Image.fromarray(np.ascontiguousarray(strip)), (GAP, y + 22))
        y += strip.shape[0] + 26
    data = BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _bytes(planes: NDArray[np.floating]) -> Pixels:
    """[C, h, w] in [0, 1] as pixels."""
    scaled = np.clip(np.nan_to_num(planes), 0, 1) * 255
    return np.ascontiguousarray(np.round(scaled).astype(np.uint8).transpose(1, 2, 0))
