"""Reading one image of a chunk: its bytes, what there is of it already, and how the model sees it."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.apply.edits import ABSENT, ApplyChunk, EditOutcome, output_of
from flows.inputs.places import Source, place_of
from flows.inputs.sources import Fetcher
from flows.outputs.outputs import Outputs
from loco.direction import edit_id
from loco.errors import ImageError, LocoError, RoiAbsent
from loco.folders import Folders, check_inside
from loco.ids import bytes_id
from loco.images import Picture, check_size, picture_of, to_model
from loco.outside import told
from loco.rois.layouts import RoiSpec, resolve_roi
from registry.files.cache import Cache
from registry.home import Home
from registry.records import EditItem

if TYPE_CHECKING:
    from loco.inversion import Grid

HELD = 4 * 2**20
"""Bytes of pixels up to which a decoded image is held until its outputs are written; a larger one is decoded again."""


@dataclass(eq=False)
class Loaded:
    """One image as a reader hands it on."""

    index: int
    name: str
    outcomes: list[EditOutcome]
    picture: Picture | None = None
    data: bytes = b""
    items: dict[int, EditItem] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None
    note: str = ""
    lacks: frozenset[int] = frozenset()
    x0: NDArray[np.float32] | None = None
    means: "dict[Grid, NDArray[Any]]" = field(default_factory=dict)
    seconds: float = 0.0


class Reader:
    """Reads the images of one chunk, for any number of threads."""

    def __init__(self, chunk: ApplyChunk, outputs: Outputs, cache: Cache, fetcher: Fetcher) -> None:
        self.chunk, self.outputs, self.cache, self.fetcher = chunk, outputs, cache, fetcher

    def load(self, index: int) -> Loaded:
        """Read one image, find what is there of it already, and show it as the model sees it."""
        chunk, source = self.chunk, self.chunk.sources[index]
        loaded = Loaded(index, source.name, [])
        started = time.perf_counter()
        try:
            self._read(loaded, source)
            todo = self._skip(loaded)
            if todo and loaded.picture is None:
                loaded.picture = picture_of(loaded.data, place_of(source), source.name)
            if loaded.picture is not None and todo:
                height, width = loaded.picture.pixels.shape[:2]
                check_size(height, width, chunk.format)
                loaded.x0 = to_model(loaded.picture.pixels, chunk.model.shape[1:])
                loaded.means = self._cached(loaded, todo)
                if loaded.picture.pixels.nbytes > HELD:
                    loaded.picture = None
                elif not chunk.marks.sign:
                    loaded.data = b""
        except (LocoError, MemoryError) as error:
            cause = told(str(error)) or "not enough memory"
            status = "absent" if isinstance(error, RoiAbsent) else "failed"
            made = {one.output for one in loaded.outcomes}
            for edit in chunk.edits:
                output = output_of(chunk.stems[index], edit, chunk.form)
                if output not in made:
                    loaded.outcomes.append(EditOutcome(source.name, output, edit.asked, status, cause=cause))
            loaded.items, loaded.data, loaded.picture = {}, b"", None  # many may wait, and each can be large
        loaded.seconds = time.perf_counter() - started
        return loaded

    def _read(self, loaded: Loaded, source: Source) -> None:
        chunk = self.chunk
        if chunk.root is not None and source.id:  # of a dataset: nothing is read from outside it
            check_inside(chunk.root, source.name)
        loaded.data = self.fetcher.read(source)
        image_id = bytes_id(loaded.data)
        if source.id and image_id != source.id:
            raise ImageError(f"{place_of(source)} changed since it was added; run `loco dataset add` again")
        region = None
        if confine := chunk.edits[0].recipe.confine:
            picture = loaded.picture = picture_of(loaded.data, place_of(source), source.name)
            folders = Folders(chunk.root or Path(), chunk.masks)
            roi = resolve_roi(RoiSpec.parse(confine), folders, picture, Home(chunk.home).masks)
            loaded.mask, region, loaded.note = roi.mask, roi.id, roi.warned().note
        loaded.lacks = self._lacks(loaded, source)
        for k, edit in enumerate(chunk.edits):
            loaded.items[k] = EditItem(
                id=edit_id(chunk.model.id, image_id, edit.recipe, ABSENT if k in loaded.lacks else region),
                run_id=chunk.run_id,
                image_id=image_id,
                image_name=source.name,
                recipe=asdict(edit.recipe),
                output=output_of(chunk.stems[loaded.index], edit, chunk.form),
                checksum="",
            )

    def _lacks(self, loaded: Loaded, source: Source) -> frozenset[int]:
        """The edits none of whose regions the image has, as far as its masks tell: they are not for it."""
        chunk = self.chunk
        wanted = dict.fromkeys(region for edit in chunk.edits for region in edit.regions)
        if chunk.masks is None or not wanted:
            return frozenset()
        picture = loaded.picture = loaded.picture or picture_of(loaded.data, place_of(source), source.name)
        absent, folders = set[str](), Folders(chunk.root or Path(), chunk.masks)
        for region in wanted:
            try:
                resolve_roi(RoiSpec(region), folders, picture).fit(chunk.model.shape[1:])
            except RoiAbsent:
                absent.add(region)
            except LocoError:  # masks that do not tell
                continue
        edits = enumerate(chunk.edits)
        return frozenset(k for k, edit in edits if edit.regions and absent.issuperset(edit.regions))

    def _skip(self, loaded: Loaded) -> list[int]:
        """Note what is there already; the edits that are left to do."""
        todo = []
        for k, item in loaded.items.items():
            known, checksum, run_id = self.chunk.present.get(item.output, ("", "", ""))
            if known == item.id and self.outputs.sound(item.output, checksum):
                found = replace(item, output=self.outputs.path(item.output), checksum=checksum, run_id=run_id)
                strength = self.chunk.edits[k].asked
                loaded.outcomes.append(EditOutcome(loaded.name, item.output, strength, "skipped", found))
            else:
                todo.append(k)
        loaded.items = {k: loaded.items[k] for k in todo}
        return todo

    def _cached(self, loaded: Loaded, todo: list[int]) -> "dict[Grid, NDArray[Any]]":
        from loco.inversion import Grid

        edits = [self.chunk.edits[k] for k in todo]
        means = {}
        for grid in {Grid.of(edit.recipe) for edit in edits if edit.strength != 0}:
            found = self.cache.get(self.key(loaded.items[todo[0]].image_id, grid))
            if found is not None:
                means[grid] = found
        return means

    def key(self, image_id: str, grid: "Grid") -> str:
        """What an image's path is cached under."""
        model = self.chunk.model
        return grid.key(model.id, model.train_steps, image_id, self.chunk.edits[0].recipe)
