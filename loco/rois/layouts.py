"""Layouts of mask folders: which regions a folder offers, and the region of one image.

Four layouts, of which a ROI uses the first that has its name:

    masks/ROI/NAME.png      one mask per image; NAME is the image's path without its ending
    masks/NAME.png          label maps, with masks/classes.json: {"hair": 13, "eyes": [4, 5]}
    masks/ROI.png           one mask for all images (aligned data), where there is no classes.json
    masks/3/06042_l_eye.png CelebAMask-HQ (loco/rois/celebamask.py)
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from loco.errors import ImageError, InputError, RoiAbsent, RoiError, UnknownName
from loco.folders import Folders, inside, open_image
from loco.images import EXTENSIONS, Picture, is_image_name
from loco.outside import read_text
from loco.rois import celebamask
from loco.rois.roi import Box, ImageLike, Roi, check_name, from_box, from_label_map, from_mask_file, parse_box
from loco.rois.segment import Segmenter, segmented

CLASSES = "classes.json"

_SYSTEM = ("lost+found", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
"""Folders that systems put where they like; none is a region."""

_LABEL_EXTENSIONS = ("png", "bmp", "tif", "tiff")
"""Formats that keep class numbers exactly."""

Classes = dict[str, tuple[int, ...]]
"""ROI name -> class numbers in the label maps."""


@dataclass(frozen=True)
class RoiSpec:
    """A region as it is asked for: by the name its masks have, or with a box of its own."""

    name: str
    box: Box | None = None
    segmenter: Segmenter | None = None

    @property
    def from_masks(self) -> bool:
        """Whether the dataset's masks must offer it."""
        return self.box is None and self.segmenter is None

    @classmethod
    def parse(cls, text: str) -> "RoiSpec":
        """Read `mouth`, `mouth=box:x0,y0,x1,y1` or what `Segmenter.parse` reads; raises `InputError`."""
        name, equals, rest = text.partition("=")
        if not equals:
            return cls(check_name(text))
        if rest.startswith(("segment:", "sam:")):
            return cls(check_name(name), segmenter=Segmenter.parse(name, rest))
        if not rest.startswith("box:"):
            raise InputError(f"ROI '{text}': expected NAME or NAME=box:x0,y0,x1,y1")
        return cls(check_name(name), parse_box(rest.removeprefix("box:")))

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        if self.segmenter is not None:
            return f"{self.name}={self.segmenter}"
        return self.name if self.box is None else f"{self.name}=box:{','.join(map(repr, self.box))}"


def resolve_roi(
    spec: RoiSpec,
    folders: Folders,
    image: ImageLike,
    cache: Path | None = None,
    look: Callable[[], Picture] | None = None,
) -> Roi:
    """The region `spec` of one image, at the image's own size. What a segmenter says is kept in the folder `cache`.

    A segmentation model alone has to look at the image: at `image` itself, where it is a `Picture`, at what `look`
    gives, which is asked only then, or else at the file.

    Raises `UnknownName` (an `InputError`) for a ROI that the masks do not offer, `RoiAbsent` where the image has none,
    and `RoiError`, naming the image and the file that was looked for, where its mask is missing or unreadable.
    """
    name, size = spec.name, (image.height, image.width)
    if spec.box is not None:
        return from_box(name, spec.box, size, image.name)
    if spec.segmenter is not None:
        if isinstance(image, Picture):
            return segmented(name, spec.segmenter, image, lambda: image, cache)
        look = look or partial(open_image, folders.root, image.name, image.id)
        return segmented(name, spec.segmenter, image, look, cache)
    masks = folders.masks
    classes = {} if masks is None else _read_classes(masks)
    kind = None if masks is None else _kind(folders, masks, name, classes)
    if masks is None or kind is None:
        raise _unknown(name, folders)
    stem = PurePosixPath(image.name).with_suffix("").as_posix()
    if kind == "celebamask":
        return _celebamask(masks, name, stem, image)
    wanted = {"folder": f"{name}/{stem}", "labels": stem, "shared": name}[kind]
    extensions = _LABEL_EXTENSIONS if kind == "labels" else EXTENSIONS
    path = _find(masks, wanted, extensions)
    if path is None:
        looked_for = f"{masks / wanted}.png (or {', '.join(extensions[1:])})"
        raise RoiError(f"ROI '{name}' of {image.name}: no mask {looked_for}")
    relative = path.relative_to(masks).as_posix()
    try:
        path = inside(masks, relative)
    except ImageError as error:
        raise RoiError(f"ROI '{name}' of {image.name}: {error}") from error
    if kind == "labels":
        return from_label_map(path, name, classes, size, image.name, f"labels:{relative}")
    return from_mask_file(path, name, size, image.name, f"mask:{relative}")


def _celebamask(masks: Path, name: str, stem: str, image: ImageLike) -> Roi:
    """The union of a region's part files, of those that there are; absent where the face has only other parts."""
    files = celebamask.files(masks, stem, name)
    there = [path for path in files if path.is_file()]
    title = f"ROI '{name}' of {image.name}"
    if not there:
        looked_for = " or ".join(map(str, files)) or f"a number for a name, such as 6042.jpg for {masks}"
        if any(path.is_file() for part in celebamask.PARTS for path in celebamask.files(masks, stem, part)):
            raise RoiAbsent(f"{title}: the face has none, no mask {looked_for}")
        raise RoiError(f"{title}: no mask {looked_for}, nor of any other part of this face")
    size = (image.height, image.width)
    parts: list[Roi] = []
    for path in there:
        relative = path.relative_to(masks).as_posix()
        try:
            own = inside(masks, relative)
            parts.append(from_mask_file(own, name, size, image.name, f"mask:{relative}"))
        except ImageError as error:
            raise RoiError(f"{title}: {error}") from error
        except RoiAbsent:
            if path == there[-1] and not parts:  # a left eye that is not there leaves the right one
                raise
    mask = np.logical_or.reduce([part.mask for part in parts])
    return Roi(name, mask, " ".join(part.source for part in parts), image=image.name)


def _unknown(name: str, folders: Folders) -> UnknownName:
    if folders.masks is None:
        have = f"{folders.root} has no masks"
    else:
        have = f"{folders.masks} has {', '.join(sorted(offered(folders)[0])) or 'none'}"
    return UnknownName(f"unknown ROI '{name}': {have}; or give a box: {name}=box:x0,y0,x1,y1")


def offered(folders: Folders) -> tuple[dict[str, str], Classes]:
    """Each ROI's kind of mask (`folder`, `labels` or `shared`), and the classes of the label maps."""
    masks = folders.masks
    if masks is None:
        return {}, {}
    classes = _read_classes(masks)
    if not classes and celebamask.is_layout(masks):
        return dict.fromkeys(celebamask.regions(), "celebamask"), {}
    kinds: dict[str, str] = dict.fromkeys(classes, "labels")
    for entry in sorted(masks.iterdir()):
        is_folder = entry.is_dir()
        # With classes, every file here is a label map, also one whose image is not in the dataset.
        skipped = classes if not is_folder else _holds_labels(folders, entry, classes)
        if (
            entry.name.startswith(".")
            or entry.name in _SYSTEM
            or skipped
            or not (is_folder or is_image_name(entry.name))
        ):
            continue
        name = entry.name if is_folder else entry.stem
        if not is_folder and _find(folders.root, name, EXTENSIONS) is not None:
            raise InputError(
                f"{entry} is named like an image, so it is a label map, but {masks / CLASSES} is missing: "
                'write one like {"hair": 13, "eyes": [4, 5]}'
            )
        try:
            check_name(name)
        except InputError as error:
            raise InputError(f"{entry}: {error}") from error
        if is_folder:
            kinds[name] = "folder"
        else:
            kinds.setdefault(name, "shared")
    return kinds, classes


def _kind(folders: Folders, masks: Path, name: str, classes: Classes) -> str | None:
    """Which layout offers this ROI, as `offered` says; looks at few files, however large the folder is."""
    folder = masks / name
    if folder.is_dir() and not _holds_labels(folders, folder, classes):
        return "folder"
    if classes:
        return "labels" if name in classes else None
    if celebamask.is_layout(masks):
        return "celebamask" if name in celebamask.regions() else None
    own = _find(folders.root, name, EXTENSIONS)
    return "shared" if own is None and _find(masks, name, EXTENSIONS) is not None else None


def _holds_labels(folders: Folders, folder: Path, classes: Classes) -> bool:
    """Whether a folder of masks is the label maps of a folder of images, and no ROI."""
    return bool(classes) and (folders.root / folder.name).is_dir()


def _find(folder: Path, stem: str, extensions: tuple[str, ...]) -> Path | None:
    """The file `stem.EXTENSION` in `folder`, whichever extension it has."""
    for extension in (*extensions, *(extension.upper() for extension in extensions)):
        path = folder / f"{stem}.{extension}"
        if path.is_file():
            return path
    return None


def _read_classes(masks: Path) -> Classes:
    """`classes.json` of a mask folder, or nothing. Raises `InputError` where it is not what it should be."""
    path = masks / CLASSES
    if not path.is_file():
        return {}
    try:
        table = json.loads(read_text(inside(masks, CLASSES)))
    except (ValueError, RecursionError, ImageError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(table, dict) or not table:
        raise InputError(f'{path}: expected an object like {{"hair": 13, "eyes": [4, 5]}}')
    classes: Classes = {}
    for name, value in table.items():
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
            raise InputError(
                f"{path}: class '{name}' is {json.dumps(value)}, expected a number or a list of numbers"
            )
        try:
            classes[check_name(name)] = tuple(sorted(set(numbers)))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return classes
