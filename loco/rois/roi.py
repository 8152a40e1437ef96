"""Regions of interest: a named mask over one image, from a box, a mask file or a label map."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.decoding import STRETCHED, decode, read_bytes
from loco.direction import WIDE
from loco.errors import ImageError, InputError, RoiAbsent, RoiError
from loco.ids import content_id
from loco.images import centre_crop
from loco.rois.marked import marked

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height in [0, 1]."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NOT = "not "


def check_name(name: str) -> str:
    """Give back a ROI name that is well formed; raises `InputError` for any other."""
    if not _NAME.fullmatch(name):
        raise InputError(f"ROI name '{name}': only letters, digits, _ and - are allowed")
    return name


def nearest(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """A mask [H, W] at another size, each new pixel taking the old pixel under its centre."""
    if height < 1 or width < 1:
        raise InputError(f"a mask is at least 1 x 1, asked for {width} x {height}")
    # Whole numbers: the same pixels on every machine, and the area as near as nearest neighbour gets.
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return mask[np.ix_(rows, columns)]


class ImageLike(Protocol):
    """What a region needs to know of its image; `Picture`, `ScannedImage` and the registry's records have it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of one image; never empty.

    Attributes:
        name: Letters, digits, _ and -; `not NAME` for a complement.
        mask: bool [H, W], read-only, True inside.
        source: Where the mask is from, for people: `box:0,0,1,0.5`, `mask:eyes/1.png`, `labels:1.png#4,5`.
        note: What was done to the mask on the way, or empty.
        image: The image's name, for messages.

    Raises `RoiAbsent` when made with an empty mask, `InputError` for a name or mask that is not one.
    """

    name: str
    mask: NDArray[np.bool_]
    source: str
    note: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        check_name(self.name.removeprefix(_NOT))
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
            raise InputError(f"a mask is bool [H, W], found {self.mask.dtype} {list(self.mask.shape)}")
        if not self.mask.any():
            raise self._empty(self.mask.shape, f"no pixel of {self.source} is inside")
        if self.mask.flags.writeable:
            mask = self.mask.copy()
            mask.flags.writeable = False
            object.__setattr__(self, "mask", mask)

    @cached_property
    def id(self) -> str:
        """Hash of name, shape and mask: the same region whatever file it was read from."""
        return content_id("roi", [self.name, list(self.mask.shape), np.packbits(self.mask).tobytes().hex()])

    @property
    def area(self) -> float:
        """Fraction of the pixels inside, in (0, 1]."""
        return float(np.count_nonzero(self.mask)) / self.mask.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roi) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __invert__(self) -> "Roi":
        """All other pixels of the image. Raises `RoiAbsent` where there are none."""
        name = self.name.removeprefix(_NOT) if self.name.startswith(_NOT) else _NOT + self.name
        return replace(self, name=name, mask=~self.mask)

    def at(self, h: int, w: int) -> "Roi":
        """The region at h x w, nearest neighbour. Raises `RoiAbsent` where that leaves no pixel of it."""
        return self._resized(self.mask, (h, w))

    def fit(self, size: tuple[int, int]) -> "Roi":
        """The region as a model of `size` (h, w) sees it.

        The centre crop of `to_model`, then nearest neighbour. The mask must be of its
        image's own size. A region of more than `WIDE` of it is noted. Raises `RoiAbsent` where nothing is left.
        """
        crop = centre_crop(self.mask.shape[0], self.mask.shape[1], size)
        cut = self.mask[crop.window]
        if not cut.any():
            raise self._empty(size, "it lies outside the centre crop that the model sees")
        return self._resized(cut, size).warned()

    def warned(self) -> "Roi":
        """The region, with a note where it leaves next to no outside."""
        if self.area <= WIDE:
            return self
        return self._noting(
            f"ROI '{self.name}' covers {100 * self.area:.3g} % of the image: next to nothing is outside of it; "
            "if it should not, look at its mask"
        )

    def _noting(self, note: str) -> "Roi":
        return replace(self, note="; ".join(filter(None, (self.note, note)))) if note else self

    def _resized(self, mask: NDArray[np.bool_], size: tuple[int, int]) -> "Roi":
        small = mask if mask.shape == size else nearest(mask, *size)
        if not small.any():
            raise self._empty(
                size,
                f"its {np.count_nonzero(mask)} pixels at {_text(mask.shape)} fall between the model's; "
                "mark a larger region or use a larger model",
            )
        return replace(self, mask=small)

    def _empty(self, size: tuple[int, ...], cause: str) -> RoiAbsent:
        return RoiAbsent(f"{_title(self.name, self.image)} is empty at {_text(size)}: {cause}")


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def _title(name: str, image: str) -> str:
    return f"ROI '{name}' of {image}" if image else f"ROI '{name}'"


def parse_box(text: str) -> Box:
    """Read `x0,y0,x1,y1`, fractions of width and height; raises `InputError` for anything else."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise InputError(f"box '{text}': expected four numbers x0,y0,x1,y1")
    x0, y0, x1, y1 = values
    if not all(0 <= value <= 1 for value in values):
        raise InputError(f"box '{text}': each of x0,y0,x1,y1 is a fraction in [0, 1]")
    if not (x0 < x1 and y0 < y1):
        raise InputError(f"box '{text}': expected x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def from_box(name: str, box: Box, image_size: tuple[int, int], image: str = "") -> Roi:
    """The pixels of an image of `image_size` (H, W) whose centres lie in the box; `RoiAbsent` for none."""
    height, width = image_size
    x0, y0, x1, y1 = box
    across = (np.arange(width) + 0.5) / width
    down = (np.arange(height) + 0.5) / height
    inside_x, inside_y = (across >= x0) & (across < x1), (down >= y0) & (down < y1)
    source = "box:" + ",".join(f"{value:.12g}" for value in box)
    return Roi(check_name(name), inside_y[:, None] & inside_x, source, image=image)


def from_mask_file(
    path: Path, name: str, image_size: tuple[int, int], image: str = "", source: str | None = None
) -> Roi:
    """A region from a mask file, at the image's size (H, W); `loco.rois.marked` says which pixels are inside.

    A mask of another size is resized, nearest neighbour, and `note` says so. Raises `RoiAbsent` where no pixel is
    inside, `RoiError` where it cannot be read, can be read in two ways, or has not the image's aspect ratio.
    """
    picture = _read(path, check_name(name), image)
    try:
        found = marked(picture, path)
    except ImageError as error:
        raise RoiError(f"{_title(name, image)}: {error}") from error
    source = source or f"mask:{path.name}"
    if found.cause:
        raise RoiAbsent(f"{_title(name, image)} is empty: no pixel of {source} is inside ({found.cause})")
    roi = _sized(found.mask, name, image_size, image, source)
    return roi._noting(found.note)


def from_label_map(
    path: Path,
    name: str,
    classes: dict[str, tuple[int, ...]],
    image_size: tuple[int, int],
    image: str = "",
    source: str | None = None,
) -> Roi:
    """A region from an image of class numbers (one channel, or palette indices), at the image's size (H, W).

    `classes` maps each ROI name to its class numbers; numbers of the map that are in no class, 0 excepted, are noted.
    Raises `InputError` for a name that is not among them, `RoiAbsent` for a map that holds none of its numbers,
    `RoiError` for a file that is not a label map.
    """
    if name not in classes:
        raise InputError(
            f"unknown ROI '{name}': the label maps have {', '.join(sorted(classes)) or 'no classes'}"
        )
    picture = _read(path, check_name(name), image)
    if picture.mode not in ("1", "L", "P", "I") and not picture.mode.startswith("I;16"):
        raise RoiError(
            f"{_title(name, image)}: {path} is no label map "
            f"(expected one channel of whole numbers, found mode {picture.mode})"
        )
    if picture.format == "JPEG":
        raise RoiError(f"{_title(name, image)}: {path} is a JPEG, which does not keep class numbers; use PNG")
    numbers = ",".join(str(number) for number in classes[name])
    found = np.asarray(picture).astype(np.int64) // _stretched(picture)
    roi = _sized(
        np.isin(found, classes[name]), name, image_size, image, f"{source or f'labels:{path.name}'}#{numbers}"
    )
    named = {0}.union(*classes.values())
    others = [str(number) for number in np.unique(found).tolist() if number not in named]
    if not others:
        return roi
    shown = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
    return roi._noting(f"{path.name} has class numbers that classes.json does not name: {shown}")


def _stretched(picture: Image.Image) -> int:
    """By what the numbers were multiplied when they were decoded: Pillow stretches gray of 2 and 4 bits to 8."""
    return int(picture.info.get(STRETCHED, 1))


def _read(path: Path, name: str, image: str) -> Image.Image:
    try:
        return decode(read_bytes(path), path)
    except ImageError as error:
        raise RoiError(f"{_title(name, image)}: {error}") from error


def _sized(mask: NDArray[np.bool_], name: str, image_size: tuple[int, int], image: str, source: str) -> Roi:
    """The region at its image's size, with a note where it had to be resized for that."""
    if not _same_aspect(mask.shape, image_size):
        turned = _same_aspect(mask.shape[::-1], image_size)
        cause = (
            "likely one of the two has an EXIF turn that the other lacks; save both upright"
            if turned
            else "a mask has its image's aspect ratio; make it from this image"
        )
        how = "lies on its side to" if turned else "does not fit"
        raise RoiError(
            f"{_title(name, image)}: {source} of {_text(mask.shape)} {how} the image of {_text(image_size)}: {cause}"
        )
    roi = Roi(name, mask, source, image=image)
    if mask.shape == image_size:
        return roi
    return replace(roi.at(*image_size), note=f"mask {_text(mask.shape)} resized to {_text(image_size)}")


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the smaller of two sizes is the larger one scaled down, rounded to whole pixels in whatever way."""
    (h, w), (height, width) = sorted((one, other), key=lambda size: size[0] * size[1])
    # In units of the smaller's pixels, multiplied out: the side that is off by less decides.
    return abs(w * height - width * h) < max(width, height)
