"""One image of a chunk on its way through discovery: what is asked of it, its picture, its regions and its points x_t.

What discovery on each image (`chunk.py`) and across all of them (`across.py`) have in common. Touches no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.engine.dataset import DatasetChunk
from loco.errors import LocoError, NewerFormat, RoiAbsent, StorageError
from loco.folders import Folders, open_image
from loco.images import Picture, to_model
from loco.recipes import DiscoverRecipe
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi
from registry.files.basis import basis_path, holds, read_basis
from registry.files.cache import Cache
from registry.home import Home
from registry.records import ImageRecord

if TYPE_CHECKING:
    from torch import Tensor

    from loco.diffusion.denoiser import Denoiser

GROUP = 64
"""Images that are looked up in the catalogue together: one question for all of them."""

BATCH = 8
"""Images inverted together, while the accelerator's slot is held."""

SMALL = 3 * 64 * 64
"""Numbers in an image up to which a batch is always filled up to `BATCH`: kernels differ by the batch's size, and so do
the last bits of what they give. Filled up, an image gives the same file whichever images came with it."""


@dataclass(frozen=True, kw_only=True)
class DiscoverChunk(DatasetChunk):
    """Some images, and what is to be found in them.

    Attributes:
        rois: Regions, as on the command line.
        recipe: How directions are found.
        max_memory: GiB that the network's graph may take, or None.
    """

    rois: tuple[str, ...]
    recipe: DiscoverRecipe
    max_memory: float | None = None


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        image: Its name.
        status: `done`, `skipped` (all of it was there), `absent` (it has none of the regions) or `failed` (at least one
            region has no result although it may be there).
        basis_id: The basis file to index, or None.
        directions: Directions in it.
        refused: Directions that vanished in the projection.
        evaluations: Network evaluations spent now.
        failures: Pairs (ROI or empty, cause).
        absent: Pairs (ROI, reason) of regions that the image does not have.
        notes: What was done to the input on the way.
        seconds: Time spent.
        halved: How often a batch was halved for it because memory ran out.
    """

    image: str
    status: str
    basis_id: str | None = None
    directions: int = 0
    refused: int = 0
    evaluations: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    halved: int = 0


@dataclass
class Item:
    """An image on its way through a chunk."""

    record: ImageRecord
    picture: Picture | None = None
    rois: list[Roi] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    halved: int = 0

    def look(self, root: Path) -> Picture:
        """Its picture, read and decoded once."""
        if self.picture is None:
            self.picture = open_image(root, self.record.name, self.record.id)
        return self.picture

    def outcome(self, status: str, basis: str | None = None) -> ImageOutcome:
        """What became of it, without anything computed now."""
        return ImageOutcome(
            self.record.name,
            "failed" if self.failures else status,
            basis,
            failures=tuple(self.failures),
            absent=tuple(self.absent),
            notes=tuple(self.notes),
            halved=self.halved,
        )


def regions_of(chunk: DiscoverChunk, record: ImageRecord) -> Item:
    """The image's regions at model size, with what failed on the way; a segmentation model alone looks at the image."""
    item = Item(record)
    folders, look = Folders(chunk.root, chunk.masks), partial(item.look, chunk.root)
    for text in chunk.rois:
        spec = RoiSpec.parse(text)
        try:
            roi = resolve_roi(spec, folders, record, Home(chunk.home).masks, look)
            roi = roi.fit(chunk.model.shape[1:])
        except RoiAbsent as error:
            item.absent.append((spec.name, str(error)))
        except LocoError as error:
            item.failures.append((spec.name, str(error)))
        else:
            item.rois.append(roi)
            if roi.note:
                item.notes.append(roi.note)
    return item


def is_sound(home: Home, basis: str) -> bool:
    """Whether the basis file is there and is what its checksum says; raises `NewerFormat`."""
    try:
        return holds(home, basis) and read_basis(basis_path(home, basis)).id == basis
    except NewerFormat:
        raise  # not to be computed: it could not be put in that one's place
    except StorageError:
        return False


def points_of(
    denoiser: "Denoiser",
    items: Sequence[Item],
    chunk: DiscoverChunk,
    device: str,
    cache: Cache,
    width: int = BATCH,
) -> "list[Tensor | None]":
    """The points x_t [K, C, H, W] of each image; when memory runs out, of half of them at a time.

    None for an image that is too much alone.

    Batches of small images have `width` places; those that are over stay black. The paths are left in the cache for
    edits of the same images; they are not taken from there, so that a basis is the same bytes whatever the cache holds.
    """
    import torch

    from flows.device.steady import free
    from loco.diffusion.codec import codec_of
    from loco.inversion import Grid, invert
    from loco.memory import out_of_memory
    from loco.points import needs_inversion, points
    from loco.precision import algebra

    recipe, size = chunk.recipe, codec_of(denoiser).image_shape[1:]
    pixels = [torch.from_numpy(to_model(item.picture.pixels, size)) for item in items if item.picture]
    try:
        x0 = torch.stack(pixels).to(device, algebra(recipe.dtype))
        if x0[0].numel() <= SMALL:
            x0 = torch.cat([x0, x0.new_full((max(0, width - len(x0)), *x0.shape[1:]), -1.0)])
        names = [item.record.id for item in items]  # the places that are over are nobody's
        if not needs_inversion(recipe):
            with torch.no_grad():
                start = codec_of(denoiser).encode(x0)[: len(items)]
            return list(points(denoiser.schedule, start, recipe, names))
        path = invert(denoiser, x0, recipe.t, recipe.steps, complete=False)
        grid, model, means = Grid.of(recipe), chunk.model, path.means.cpu().numpy()
        for name, row in zip(names, means, strict=False):
            cache.put(grid.key(model.id, model.train_steps, name, recipe), row)
        mine = path[: len(items)]
        found = points(denoiser.schedule, mine.points[:, 0], recipe, names, mine.x_t)
        return list(found.clone())  # a view would hold the whole way
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        items[0].halved += 1
    free()
    if width == 1:
        return [None]
    half = width // 2
    parts = [items[start : start + half] for start in range(0, len(items), half)]
    return [at for part in parts for at in points_of(denoiser, part, chunk, device, cache, half)]


def too_little(chunk: DiscoverChunk, item: Item) -> StorageError:
    """The error for an image that does not fit into memory even alone."""
    return StorageError(
        f"{item.record.name}: memory ran out even for one image at a time; free the device, or use a smaller model "
        f"than {chunk.model.name!r}"
    )
