"""What a Python program opens: a model, and images with their regions, which are read when they are asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of
from loco.diffusion.denoiser import Denoiser
from loco.errors import InputError
from loco.files import write_atomic
from loco.finish import finish
from loco.folders import Folders, inside
from loco.formats import Format
from loco.images import Picture, read_image, to_model
from loco.listing import walk
from loco.models.diffusers_folder import open_folder
from loco.models.network import NetworkDenoiser
from loco.models.source import model_folder
from loco.precision import algebra
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi


def open_model(source: str | Path, *, device: str | None = None, dtype: str = "float32") -> NetworkDenoiser:
    """The model at `source`: a folder in the format of diffusers, `hub:OWNER/NAME` or `zoo:NAME`.

    It runs on `device`, by default a GPU where there is one; `card` tells what it is. Raises `ModelError`.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _, denoiser = open_folder(model_folder(str(source)), device=place, dtype=getattr(torch, dtype))
    return denoiser


def open_images(
    source: str | Path | Iterable[str | Path], denoiser: Denoiser, masks: str | Path | None = None
) -> "Images":
    """The images of a folder, by name, or of one or several files, as `denoiser` sees them.

    `masks` is a folder of masks (`loco.rois.layouts`); by default the images' own `masks`, where there is one. Raises
    `InputError` where there is no image.
    """
    several = [source] if isinstance(source, str | Path) else [*source]
    told = None if masks is None else Path(masks)
    files: list[tuple[Folders, str]] = []
    for path in map(Path, several):
        if path.is_dir():
            folders = Folders.of(path, told)
            skip = () if folders.masks is None else (folders.masks,)
            files += [(folders, name) for name in sorted(one.name for one in walk(path, skip))]
        else:
            files.append((Folders.of(path.parent, told), path.name))
    if not files:
        raise InputError(f"{', '.join(map(str, several)) or 'no files'}: no images")
    weight = next(iter(getattr(denoiser, "network", torch.nn.Identity()).parameters()), torch.zeros(()))
    _, height, width = codec_of(denoiser).image_shape
    return Images(
        tuple(files), (height, width), weight.device, algebra(str(weight.dtype).removeprefix("torch."))
    )


@dataclass(frozen=True, eq=False)
class Images:
    """Image files as a model sees them. A sequence: `images[0]`, `images[:8]` and each of a loop are `Images` too.

    Attributes:
        files: Each one's folders and its name there.
        size: (h, w) of the model's images.
        device, dtype: Of `pixels`.
    """

    files: tuple[tuple[Folders, str], ...]
    size: tuple[int, int]
    device: torch.device
    dtype: torch.dtype

    def __len__(self) -> int:
        """The number of images."""
        return len(self.files)

    def __getitem__(self, which: int | slice) -> "Images":
        """One of them, or several."""
        return replace(self, files=self.files[which] if isinstance(which, slice) else (self.files[which],))

    def __iter__(self) -> Iterator["Images"]:
        """One at a time; each is read when it is used, and forgotten with it."""
        return (self[row] for row in range(len(self)))

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The files' contents, read now, at their own size; raises `ImageError`."""
        return tuple(read_image(inside(folders.root, name), name) for folders, name in self.files)

    @property
    def pixels(self) -> Tensor:
        """What the model is shown: [B, 3, h, w] in [-1, 1], centre-cropped and scaled; raises `ImageError`."""
        shown = [torch.from_numpy(to_model(one.pixels, self.size)) for one in self.pictures]
        return torch.stack(shown).to(self.device, self.dtype)

    @property
    def id(self) -> str:
        """sha256 of the file, where this is one image."""
        return self._one().id

    @property
    def name(self) -> str:
        """Name of the file, where this is one image."""
        return self._one().name

    def roi(self, text: str) -> Roi:
        """The region of one image at the model's size: `mouth`, from its masks, or `mouth=box:x0,y0,x1,y1`.

        Raises `InputError` for a region that the masks do not offer, `RoiError` where this image has none.
        """
        picture, (folders, _) = self._one(), self.files[0]
        return resolve_roi(RoiSpec.parse(text), folders, picture).fit(self.size)

    def save(self, edited: Tensor, folder: str | Path, format: Format = "png") -> list[Path]:
        """Write what `edit` returned, [B, 3, h, w], to `folder`, each image under its name; returns the files.

        Each is the file itself, at its own size and with all that it carries, plus what was changed: without a change
        it has the same pixels. Raises `ImageError` for a change that is not finite, `StorageError` of the disk.
        """
        changes = (edited.to(self.device) - self.pixels).float().cpu().numpy()
        if len(changes) != len(self):
            raise ValueError(f"expected {len(self)} edited images, found {len(changes)}")
        written = []
        for picture, change in zip(self.pictures, changes, strict=True):
            path = (Path(folder) / picture.name).with_suffix(f".{format}")
            write_atomic(path, finish(picture, change, format))
            written.append(path)
        return written

    def _one(self) -> Picture:
        if len(self) != 1:
            raise ValueError(f"expected one image, found {len(self)}; take one, such as images[0]")
        return self.pictures[0]
