"""The images of a dataset that a study looks at, with their regions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loco.errors import InputError, LocoError
from loco.folders import Folders, open_image
from loco.images import to_model
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi
from registry.registry import Registry


@dataclass(frozen=True)
class Looked:
    """One image as a model sees it.

    Attributes:
        id, name: sha256 of its file, and its name.
        pixels: [3, H, W] float32 in [-1, 1].
        rois: The regions asked for, at the model's size.
    """

    id: str
    name: str
    pixels: Any
    rois: tuple[Roi, ...]


def read_images(
    registry: Registry, dataset: str, rois: Sequence[str], size: tuple[int, int], count: int
) -> tuple[list[Looked], list[str]]:
    """The first `count` images of the dataset that can be read and have all the regions, and why others were left out.

    The latter are of the images that come before the last of these: the name of each and the cause. Raises `InputError`
    where there is none, with the cause that was seen last.
    """
    trouble: list[str] = []
    found = list[Looked]()
    for one in _all(registry, dataset, rois, size, trouble):
        if len(found) == count:
            break
        found.append(one)
    if not found:
        last = f"; of {trouble[-1]}" if trouble else ""
        raise InputError(f"dataset {dataset!r} has no image with all of these regions{last}")
    return found, trouble


def left_out(dataset: str, trouble: Sequence[str]) -> str:
    """In words, how many images were left out, and why the first was."""
    images = "1 image was" if len(trouble) == 1 else f"{len(trouble)} images were"
    return f"dataset {dataset!r}: {images} left out, the first: {trouble[0]}"


def _all(
    registry: Registry, dataset: str, rois: Sequence[str], size: tuple[int, int], trouble: list[str]
) -> Iterator[Looked]:
    record = registry.dataset(dataset)
    root = Path(record.path)
    folders = Folders(root, Path(record.masks) if record.masks else None)
    specs = [RoiSpec.parse(text) for text in rois]
    for image in record.images:
        try:
            picture = open_image(root, image.name, image.id)
            regions = tuple(
                resolve_roi(spec, folders, picture, registry.home.masks).fit(size) for spec in specs
            )
        except LocoError as error:
            trouble.append(f"{image.name}: {error}")
            continue
        yield Looked(image.id, image.name, to_model(picture.pixels, size), regions)
