"""Files <-> arrays: reading pictures, fitting them to a model's size, adding a change, encoding.

Pixels are uint8 [H, W, 3] RGB; what a model sees is float32 [3, h, w] in [-1, 1]. Sizes are
(height, width) in code and `width x height` in messages, as people write them.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loco import outside
from loco.decoding import (
    BACK,
    DAMAGED,
    MAX_PIXELS,
    NOTES,
    ORIENTATION,
    TURN,
    TURNS,
    alpha_of,
    decode,
    read_bytes,
)
from loco.errors import ImageError, InputError
from loco.formats import FORMATS, Format, format_of
from loco.ids import bytes_id

EXTENSIONS = (
    *("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"),
    *("apng", "jpe", "jfif", "dib", "gif", "avif", "heic", "heif", "hif"),
)
"""File name endings (any case) that are taken for images: the one list."""

LOOKS = (
    *("jxl", "jp2", "j2k", "jpx", "psd", "svg", "tga", "ico", "exr", "hdr", "ppm", "pgm", "pbm", "pnm"),
    *("xcf", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
)
"""Endings that somebody would call an image, and that are not read: they are named, not overlooked."""

_DESCRIBING = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
"""Description, maker, model, software, date, artist and copyright."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One image file in memory.

    Attributes:
        pixels: uint8 [H, W, 3] RGB, upright, alpha composited over white: what a model is shown.
        id: sha256 of the file's bytes, 64 hex characters.
        name: The name it goes by in messages and manifests.
        alpha: uint8 [H, W], upright, or None for an opaque image.
        bare: The colours of an image with alpha before they are composited, uint8 [H, W, 3]; None for an opaque one.
        profile: Its colour profile where an RGB file can carry it, or None.
        turn: Its EXIF orientation, 1 to 8; the arrays here are upright already.
        exif, xmp: What it says of itself, as it stands in the file; unchecked.
        notes: What of the file cannot be kept in an 8-bit RGB file.
    """

    pixels: NDArray[np.uint8]
    id: str
    name: str
    alpha: NDArray[np.uint8] | None = None
    bare: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    turn: int = 1
    notes: tuple[str, ...] = ()
    exif: bytes | None = None
    xmp: bytes | None = None

    @property
    def height(self) -> int:
        """H."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """W."""
        return self.pixels.shape[1]


class Crop(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The index that cuts it out of an array [H, W, ...]."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def is_image_name(name: str) -> bool:
    """Whether a file name ends in one of `EXTENSIONS`, in any case."""
    return Path(name).suffix[1:].lower() in EXTENSIONS


def read_image(path: Path, name: str | None = None) -> Picture:
    """Read one image file; its bytes are read once, so `id` is the hash of exactly what was decoded.

    EXIF orientation is applied; palette, gray, CMYK, 16-bit and alpha images become 8-bit RGB (alpha over
    white, 16 bits scaled); of several frames the first counts; colour profiles are kept and not applied. `name` is
    the file's name where it is not given. Raises `ImageError`.
    """
    return picture_of(read_bytes(path), path, path.name if name is None else name)


def picture_of(data: bytes, place: Path | str, name: str, most: int = MAX_PIXELS) -> Picture:
    """The image in the bytes of a file, wherever they came from; `place` is for messages.

    One of more than `most` pixels is refused before it is decoded. Raises `ImageError`.
    """
    image = decode(data, place, most)
    try:
        pixels, bare, alpha = _rgb(image, place), None, alpha_of(image)
        if alpha is not None:
            bare = pixels if image.mode.startswith("I") else np.array(image.convert("RGBA"))[:, :, :3]
            bare = np.ascontiguousarray(bare)
            pixels = _over_white(bare, alpha)
        turn = image.info.get(TURN, 1)
        profile, notes = _profile(image)
        exif, xmp = _told(image)
    except DAMAGED as error:
        raise ImageError(f"{place}: cannot be converted to RGB from mode {image.mode} ({error})") from error
    return Picture(pixels, bytes_id(data), name, alpha, bare, profile, turn, notes, exif, xmp)


def _told(image: Image.Image) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP of an image, as they stand in its file; of a TIFF, whose tags are about its layout, what describes
    it.
    """
    xmp, exif = image.info.get("xmp"), image.info.get("exif")
    if image.format == "TIFF" or exif is None:
        found = image.getexif() if image.format == "TIFF" else {}
        described = {tag: found[tag] for tag in _DESCRIBING if tag in found}
        kept = Image.Exif()
        kept.update(described)
        exif = kept.tobytes() if described else None
    return exif if isinstance(exif, bytes) and exif else None, xmp if isinstance(xmp, bytes) and xmp else None


def _profile(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """The colour profile if RGB pixels can go on under it, and notes on what is lost."""
    notes = []
    if image.mode.startswith("I"):
        notes.append("16 bits a channel became 8")
    if image.mode == "CMYK":
        notes.append("CMYK became RGB")
    notes += image.info.get(NOTES, ())
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None, tuple(notes)
    if len(profile) < 128 or profile[36:40] != b"acsp":  # ICC.1:2022, 7.2
        return None, (*notes, "the colour profile is damaged and was left out")
    if profile[16:20] != b"RGB ":  # ICC.1:2022, 7.2.6: colour space of the data
        space = outside.printable(profile[16:20].decode("ascii", errors="replace").strip())
        return None, (*notes, f"the colour profile is for {space}, not RGB, and was left out")
    return profile, tuple(notes)


def _rgb(image: Image.Image, path: Path | str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of an image in any mode."""
    if image.mode == "F":
        raise ImageError(f"{path}: floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 and would turn a 16-bit image white.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{path}: 32-bit pixels have no fixed range; save it with 8 or 16 bits")
        gray = np.rint(values / 257).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _over_white(bare: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgba = Image.fromarray(np.dstack([bare, alpha]))
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, rgba).convert("RGB"))


def centre_crop(height: int, width: int, size: tuple[int, int]) -> Crop:
    """The largest centred rectangle of a `height` x `width` image with the aspect ratio of `size` (h, w)."""
    if min(height, width, *size) < 1:
        raise InputError(f"sizes are at least 1 x 1, found {width} x {height} and {size[1]} x {size[0]}")
    h, w = size
    if width * h >= height * w:
        crop_h, crop_w = height, min(width, max(1, (2 * height * w + h) // (2 * h)))
    else:
        crop_h, crop_w = min(height, max(1, (2 * width * h + w) // (2 * w))), width
    return Crop((height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w)


def to_model(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Pixels uint8 [H, W, 3] as a model of `size` (h, w) sees them: float32 [3, h, w] in [-1, 1].

    Centre crop to the model's aspect ratio, then Lanczos where it shrinks and bicubic where it grows; pixels
    of the model's own size are not resampled, and `from_model` gives them back bit for bit.
    """
    crop = centre_crop(*_size_of(pixels), size)
    cut = pixels[crop.window]
    if cut.shape[:2] != size:
        shrinks = crop.height >= size[0] and crop.width >= size[1]
        kind = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
        cut = np.asarray(Image.fromarray(np.ascontiguousarray(cut)).resize((size[1], size[0]), kind))
    scaled = cut.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def from_model(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A model's image float32 [3, h, w] in [-1, 1] as uint8 [h, w, 3]: rounded half to even, clipped.

    Raises `ImageError` for NaN or infinity, which no pixel can show.
    """
    _check_planes(x)
    return _to_bytes((x.transpose(1, 2, 0).astype(np.float64) + 1) * 127.5)


def apply_change(
    pixels: NDArray[np.uint8], change: NDArray[np.float32], weight: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Source pixels uint8 [H, W, 3] plus a change float32 [3, h, w] in units of [-1, 1].

    The change (2.0 is black to white) is resampled, bicubic, to the centre crop that `to_model` showed the
    model and added there, so the source keeps its full resolution; pixels outside the crop are untouched, a
    zero change gives back the input exactly, and equal sizes are not resampled. `weight` [H, W] in [0, 1], at
    the source's size, scales it pixel by pixel.
    Raises `ImageError` for NaN or infinity.
    """
    _check_planes(change)
    crop = centre_crop(*_size_of(pixels), (change.shape[1], change.shape[2]))
    planes = change.astype(np.float32)
    if planes.shape[1:] != (crop.height, crop.width):
        target = (crop.width, crop.height)
        grown = [Image.fromarray(plane).resize(target, Image.Resampling.BICUBIC) for plane in planes]
        planes = np.stack([np.asarray(plane) for plane in grown])
    result = pixels.copy()
    added = planes.transpose(1, 2, 0).astype(np.float64) * 127.5
    if weight is not None:
        added *= weight[crop.window][:, :, None]
    result[crop.window] = _to_bytes(result[crop.window] + added)
    return result


def _to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _size_of(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"pixels are uint8 [H, W, 3], found {pixels.dtype} {list(pixels.shape)}")
    return pixels.shape[0], pixels.shape[1]


def _check_planes(x: NDArray[np.float32]) -> None:
    if x.ndim != 3 or x.shape[0] != 3:
        raise InputError(f"a model's image is [3, h, w], found {list(x.shape)}")
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        raise ImageError(f"the model's image has {bad} values of {x.size} that are NaN or infinite")


def check_size(height: int, width: int, format: Format) -> None:
    """Refuse, with an `ImageError`, a size that no file of that format can have."""
    most = FORMATS[format_of(format)].largest
    if most is not None and max(height, width) > most:
        raise ImageError(
            f"{width} x {height} pixels are more than a {format} file can hold ({most} each way); choose --format png"
        )


def encode(
    pixels: NDArray[np.uint8],
    format: Format,
    *,
    alpha: NDArray[np.uint8] | None = None,
    profile: bytes | None = None,
    turn: int = 1,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """The bytes of an image file of upright pixels uint8 [H, W, 3]: png and webp lossless, jpg at quality 95 (4:4:4).

    With `alpha` [H, W], a colour profile, an EXIF orientation `turn`, under which the pixels are stored, EXIF that
    says the same turn, and an XMP packet in UTF-8. The same input gives the same bytes (with the same Pillow). Raises
    `InputError` for another format, `ImageError` for what no file of that format can hold.
    """
    check_size(*_size_of(pixels), format)
    image = Image.fromarray(np.ascontiguousarray(pixels if alpha is None else np.dstack([pixels, alpha])))
    extra: dict[str, Any] = {} if profile is None else {"icc_profile": profile}
    if turn in TURNS:
        image = image.transpose(TURNS[BACK.get(turn, turn)])
    if exif is not None:
        extra["exif"] = exif
    elif turn in TURNS:
        extra["exif"] = Image.Exif()
        extra["exif"][ORIENTATION] = turn
    if xmp is not None and format == "png":
        extra["pnginfo"] = PngInfo()
        extra["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp is not None:
        extra["xmp"] = xmp
    buffer = io.BytesIO()
    try:
        kind = FORMATS[format]
        if format == "webp":
            extra["exact"] = alpha is not None
        image = image if kind.transparent else image.convert("RGB")
        image.save(buffer, kind.pillow, **kind.options, **extra)
    except DAMAGED as error:
        raise ImageError(f"cannot be written as {format} ({error})") from error
    return buffer.getvalue()
