"""The formats that edited images are written in, each defined once. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from loco.errors import InputError

Format = Literal["png", "jpg", "webp"]
"""An output format: the ending of its files."""


@dataclass(frozen=True)
class OutputFormat:
    """One format.

    Attributes:
        pillow: What Pillow calls it.
        media: Its media type.
        options: What Pillow is told for it, besides what the image carries.
        per_pixel: Bytes of a pixel of photographs, roughly.
        transparent: Whether it has an alpha channel.
        largest: Pixels each way that a file can have; None for no limit that matters.
        room: Bytes that EXIF, and that XMP, may have in a file.
    """

    pillow: str
    media: str
    options: dict[str, Any]
    per_pixel: float
    transparent: bool = True
    largest: int | None = None
    room: int = 1 << 20


FORMATS: Mapping[str, OutputFormat] = {
    "png": OutputFormat("PNG", "image/png", {"compress_level": 6}, 1.8),
    # Full chroma: halved, it would smear a local change over its neighbours. A segment of JPEG has 64 KiB.
    "jpg": OutputFormat("JPEG", "image/jpeg", {"quality": 95, "subsampling": 0}, 0.7, False, 65500, 65_000),
    "webp": OutputFormat(
        "WEBP", "image/webp", {"lossless": True, "quality": 80, "method": 4}, 1.3, largest=16383
    ),
}


def format_of(name: str) -> Format:
    """The format of that name; raises `InputError` naming those there are."""
    if name not in get_args(Format):
        raise InputError(f"format must be {listed()}, found {name!r}")
    return cast(Format, name)


def listed() -> str:
    """Their names, as a sentence has them: `png, jpg or webp`."""
    *most, last = FORMATS
    return f"{', '.join(most)} or {last}"
