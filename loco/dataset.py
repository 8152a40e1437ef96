"""Scanning a dataset on disk: its images, the names of its regions, and the fingerprint of both.

A dataset is a folder of images with, optionally, a folder of masks (`PATH/masks` unless another is named), in one of
the layouts of `loco.rois.layouts`. Nothing is read from outside the two folders: links that leave them are refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loco.errors import ImageError, InputError
from loco.folders import Folders, inside
from loco.ids import content_id
from loco.images import EXTENSIONS, read_image
from loco.listing import walk
from loco.outside import is_text, printable, told
from loco.rois.layouts import offered
from loco.rois.roi import ImageLike


@dataclass(frozen=True)
class ScannedImage:
    """One readable image: sha256 of its bytes, path relative to the dataset, upright size in pixels."""

    id: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Scan:
    """What `scan` found.

    Attributes:
        id: Fingerprint of the image ids, the layout of the masks and the classes.
        folders: Where it was found.
        images: The readable images, by name; those with the same bytes together.
        unreadable: Pairs (name, cause).
        rois: Names of the regions that the masks offer, sorted.
    """

    id: str
    folders: Folders
    images: tuple[ScannedImage, ...]
    unreadable: tuple[tuple[str, str], ...]
    rois: tuple[str, ...]


def scan(
    path: Path,
    masks: Path | None = None,
    progress: Callable[[int], None] | None = None,
    known: Mapping[str, ImageLike] | None = None,
    since: float = 0.0,
    say: Callable[[str], None] | None = None,
) -> Scan:
    """Read every image of a dataset once and list its regions.

    An image `known` by its name, whose file the system last touched before `since` (seconds of the epoch), is not read.
    `progress` is called after each file with the number of files done, `say` with what is left out by design. An image
    or folder that cannot be read is listed with its cause; raises `InputError` where there is no image at all, or none
    that can be read, or a mask folder that makes no sense.
    """
    folders = Folders.of(path, masks)
    kinds, classes = offered(folders)  # first: it is quick, and its errors are the user's
    skip = () if folders.masks is None else (folders.masks,)
    files = sorted(walk(path, skip, say=say), key=lambda entry: entry.name)
    if not files:
        raise InputError(f"{path}: no images ({', '.join(EXTENSIONS)})")
    images: list[ScannedImage] = []
    unreadable: list[tuple[str, str]] = []
    for done, file in enumerate(files, start=1):
        name = file.name
        try:
            if file.trouble:
                raise ImageError(file.trouble)
            _check_text(name)
            old = (known or {}).get(name)
            if old is not None and _untouched(file.path, since):
                images.append(ScannedImage(old.id, name, old.width, old.height))
                continue
            picture = read_image(inside(path, name), name)
        except ImageError as error:
            unreadable.append((printable(name), told(str(error))))
        else:
            height, width = picture.pixels.shape[:2]
            images.append(ScannedImage(picture.id, name, width, height))
        finally:
            if progress is not None:
                progress(done)
    if not images:
        raise InputError(
            f"{path}: none of its {len(files)} images can be read; the first: {unreadable[0][1]}"
        )
    first = {image.id: image.name for image in reversed(images)}
    # The same bytes under several names stand together, so that whoever works on a part of them sees that.
    images.sort(key=lambda image: (first[image.id], image.name))
    fingerprint = content_id("dataset", [sorted(image.id for image in images), kinds, classes])
    return Scan(fingerprint, folders, tuple(images), tuple(unreadable), tuple(sorted(kinds)))


def _untouched(file: Path, since: float) -> bool:
    """Whether nobody wrote the file, or put another in its place, since then."""
    try:
        state = file.stat()
    except OSError:
        return False
    return max(state.st_mtime, state.st_ctime) < since


def _check_text(name: str) -> None:
    """Refuse file names that no catalogue or manifest can hold."""
    if not is_text(name):
        text = all(ord(letter) < 0xD800 or ord(letter) > 0xDFFF for letter in name)
        raise ImageError(f"its file name {'holds control characters' if text else 'is not UTF-8'}; rename it")
