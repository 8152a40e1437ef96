"""What happens to pictures on their way: each takes pixels uint8 [H, W, 3] and gives others."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image


def as_jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer).convert("RGB"))


def halved(pixels):
    """To half the size and back."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def cropped(pixels, share):
    """Without `share` of each side's length, not taken off evenly."""
    height, width = pixels.shape[:2]
    top, left = int(height * share * 0.7), int(width * share * 0.4)
    return pixels[top : top + int(height * (1 - share)), left : left + int(width * (1 - share))]


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda pixels: pixels,
    "metadata stripped": lambda pixels: pixels,
    "JPEG, quality 85": lambda pixels: as_jpeg(pixels, 85),
    "JPEG, quality 60": lambda pixels: as_jpeg(pixels, 60),
    "half the size and back": halved,
    "a tenth of each side cropped": lambda pixels: cropped(pixels, 0.1),
    "a quarter of each side cropped": lambda pixels: cropped(pixels, 0.25),
    "half the size and back, then JPEG 85": lambda pixels: as_jpeg(halved(pixels), 85),
    "like a screenshot: cropped, scaled, JPEG 80": lambda pixels: as_jpeg(halved(cropped(pixels, 0.05)), 80),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "turned by two degrees": lambda pixels: np.array(
        Image.fromarray(pixels).rotate(2, Image.Resampling.BICUBIC)
    ),
}
