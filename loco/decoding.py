"""Bytes -> the upright Pillow image, whatever somebody else's file holds: bounded, first frames, damage told in words.

What is wrong beside the pixels costs no image. Sizes are `width x height` in messages, as people write them.
"""

import functools
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from loco import outside
from loco.errors import ImageError

MAX_PIXELS = 100_000_000
"""More pixels than this are refused before they are decoded."""

# Pillow warns above its limit and raises above twice the limit; here both are refusals. Set once at import
# and not around each read, because `warnings.catch_warnings` is not safe in threads.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

EXPECTED = "PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC"
"""What is read, in words."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
"""Pillow's names of what is read, beside AVIF and HEIC: only what `loco.images.EXTENSIONS` promises, because the other
plugins (EPS, PSD, ...) are attack surface."""

_BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)

DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    UserWarning,
)
"""What Pillow's parsers let through on damaged files; warnings only where the process makes them errors."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes it upright."""

BACK = {6: 8, 8: 6}
"""The turn that undoes a turn; the others undo themselves."""

ORIENTATION = 0x0112
"""Its EXIF tag."""

TURN, NOTES = "loco.turn", "loco.notes"
"""Keys in `Image.info`: the orientation that the file told, and what was noticed on the way."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""The chunks of a PNG that say what its pixels are (ISO 15948, 4.7)."""
_BITS_PER_SAMPLE = 0x0102

STRETCHED = "loco.stretched"
"""Key in `Image.info`: by what Pillow multiplied gray values of 2 and 4 bits of a PNG or TIFF."""


def read_bytes(path: Path) -> bytes:
    """The bytes of an image or mask file; raises `ImageError` where it is missing, empty or unreadable."""
    data = outside.read(path)
    if not data:
        raise ImageError(f"{path}: empty file (0 bytes)")
    return data


def decode(data: bytes, path: Path | str, most: int = MAX_PIXELS) -> Image.Image:
    """The upright Pillow image, in its file's own mode; `path` is for messages only. Raises `ImageError`.

    One of more than `most` pixels is refused before it is decoded.

    What is wrong with texts, profiles and other parts beside the pixels of a PNG or JPEG is no damage: it is read
    without them.
    """
    try:
        return _decoded(data, path, most)
    except ImageError as error:
        for bare, dropped in _barer(data):
            try:
                image = _decoded(bare, path, most)
            except ImageError:
                continue
            note = f"metadata that cannot be read was left out ({', '.join(dropped)})"
            image.info[NOTES] = (*image.info.get(NOTES, ()), note)
            return image
        raise error


def _barer(data: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """The file with less beside its pixels, and what it then lacks."""
    found = []
    if data.startswith(_PNG):
        found = [_without(data, kept) for kept in ((*_PIXELS, b"eXIf", b"iCCP"), _PIXELS)]
    elif data.startswith(b"\xff\xd8"):
        found = [_without_segments(data)]
    yield from ((bare, dropped) for bare, dropped in found if dropped)


def _without_segments(data: bytes) -> tuple[bytes, list[str]]:
    """A JPEG's bytes without application segments (ITU-T T.81, B.1.1.3) but JFIF and Adobe, which tell of colours."""
    parts, dropped, at = [data[:2]], dict[str, None](), 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b"\xff", b""):
        kind, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xE1 <= kind <= 0xEF and kind != 0xEE:
            dropped[f"APP{kind - 0xE0}"] = None
        else:
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]]), list(dropped)


def _without(data: bytes, kept: tuple[bytes, ...]) -> tuple[bytes, list[str]]:
    """A PNG's bytes without the chunks that are not to be kept, and what those are called."""
    parts, dropped, at = [data[:8]], dict[str, None](), 8
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind in kept:
            parts.append(data[at:end])
        else:
            dropped[outside.printable(kind.decode("latin-1"))] = None
        at = end
    return b"".join(parts), list(dropped)


def _decoded(data: bytes, path: Path | str, most: int) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_formats(data, path))
    except _BOMB as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image (expected {EXPECTED})") from error
    except DAMAGED as error:
        raise ImageError(f"{path}: truncated or damaged ({error})") from error
    if image.width * image.height > most:  # where the process's warning filters hide Pillow's warning
        raise _too_large(path, most)
    try:
        image.load()
        if image.mode in ("P", "PA") and image.palette is None:
            raise ValueError("its palette is missing")
        bits = _bits(image, data)
        if image.mode == "L" and bits in (2, 4):
            image.info[STRETCHED] = 255 // (2**bits - 1)
        # After load: Pillow turns TIFFs itself and then drops their tag.
        tag, notes = _orientation(image)
        if _moves(image):
            notes.append("of several frames the first was taken")
        image.info[NOTES] = tuple(notes)
        if tag not in TURNS:
            return image
        upright = image.transpose(TURNS[tag])
        upright.info[TURN] = tag
        upright.format = image.format
        return upright
    except _BOMB as error:
        raise _too_large(path) from error
    except DAMAGED as error:
        raise ImageError(f"{path}: truncated or damaged ({error})") from error


def _orientation(image: Image.Image) -> tuple[int, list[str]]:
    """The EXIF orientation, and a note where EXIF is there and says nothing that can be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1)), []
    except DAMAGED:
        return 1, ["its EXIF cannot be read: taken as upright"]


def _moves(image: Image.Image) -> bool:
    """Whether there are more frames, which may be damaged without harm to the first."""
    try:
        if image.format == "GIF":  # counting all of its frames means reading them
            return bool(getattr(image, "is_animated", False))
        return bool(getattr(image, "n_frames", 1) > 1)
    except DAMAGED:
        return True


def _formats(data: bytes, path: Path | str) -> tuple[str, ...]:
    """What Pillow is to try; raises `ImageError` for what only a library that is not here can read."""
    if data[4:8] != b"ftyp":  # ISO 14496-12, 4.3: AVIF and HEIC are such files
        return FORMATS
    avif = data[8:12] in (b"avif", b"avis")
    if avif and features.check("avif"):
        return ("AVIF",)
    if _heif():
        return ("HEIF",)
    if avif:
        raise ImageError(
            f"{path}: AVIF is not read by this Pillow; update it (11.3 or newer) or save the image as PNG"
        )
    if data[8:12] in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
        raise ImageError(
            f"{path}: HEIC is not read without pillow-heif; `pip install 'loco-edit-service[heic]'`, or save it as PNG"
        )
    return FORMATS


@functools.cache
def _heif() -> bool:
    """Whether HEIC can be read: the optional extra `heic`."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits a value in a PNG's header (ISO 15948, 11.2.2) or a TIFF's tag; 8 for other formats."""
    if image.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return int(bits[0]) if isinstance(bits, tuple) and bits else 8


def _too_large(path: Path | str, most: int = MAX_PIXELS) -> ImageError:
    return ImageError(f"{path}: more than {most // 1_000_000} megapixels, the most that is read")


def alpha_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """Alpha, uint8 [H, W], of an image in any mode; None for an opaque one."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # a value of 16 bits that means transparent; Pillow clips it at 255
        return np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.asarray(image.convert("RGBA"))[:, :, 3])
