"""The stream of bulk application: readers, the network in the calling thread, writers; bounded in between.

Readers fetch, decode and look into the cache; the network edits in full batches (`batches.py`); writers add the
change to the source, encode, write and log. What fails on the way is an outcome of its own and costs nothing else.
"""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.apply.edits import ABSENT, ApplyChunk, EditOutcome, Work, failure_line, line_of, output_of
from flows.apply.packed import outputs_at
from flows.apply.places import Source, place_of
from flows.apply.sources import Fetcher
from flows.device import slots
from flows.device.measured import fitting
from loco.direction import edit_id
from loco.errors import ImageError, LocoError, RoiAbsent
from loco.finish import changed, edge_of, feather
from loco.folders import Folders, check_inside
from loco.formats import FORMATS
from loco.ids import bytes_id
from loco.images import Picture, check_size, picture_of, to_model
from loco.marks.claim import Claim
from loco.marks.marking import before, marked_file, software
from loco.outside import told
from loco.rois.layouts import RoiSpec, resolve_roi
from registry.files.cache import Cache
from registry.home import Home
from registry.records import EditItem, ModelRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from flows.apply.batches import Editor, Image, Result
    from loco.inversion import Grid

THREADS = max(2, min(8, (os.cpu_count() or 2)))
"""Readers, and as many writers."""

HELD = 4 * 2**20
"""Bytes of pixels up to which a decoded image is held until its outputs are written; a larger one is decoded again."""

BATCH = 32 * 32 * 32
"""Pixels that a CPU evaluates together: there larger batches are no faster."""

BATCH_GPU = 64 * 256 * 256


def batch_of(model: ModelRecord, device: str = "cpu") -> int:
    """Images of the model's size that are evaluated together."""
    _, height, width = model.shape
    room = BATCH if device == "cpu" else BATCH_GPU
    return max(4, min(512, room // (height * width)))


@dataclass(eq=False)
class _Loaded:
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


def apply_chunk(chunk: ApplyChunk) -> Work:
    """Work on the images of one chunk; an image or file that fails costs none of the others."""
    return _Stream(chunk).run()


class _Stream:
    """One chunk on its way."""

    def __init__(self, chunk: ApplyChunk) -> None:
        self.chunk = chunk
        self.outputs = outputs_at(Home(chunk.home), chunk.out, chunk.manifest, chunk.form)
        self.cache = Cache(Home(chunk.home), chunk.cache)
        self.fetcher = Fetcher()
        self.editor: Editor | None = None
        self.lengths: list[float] = []
        self.slot = contextlib.ExitStack()
        self.batch = 1
        self.spent = {"decode": 0.0, "encode": 0.0, "wait": 0.0}
        names = (output_of(stem, edit, chunk.form) for stem in chunk.stems for edit in chunk.edits)
        self.foreign = self.outputs.foreign(names, chunk.present)
        self.outcomes: list[tuple[int, int, EditOutcome]] = []
        self.writing: deque[Future[tuple[int, int, EditOutcome, float]]] = deque()

    def run(self) -> Work:
        """Everything, from the first image read to the last output logged."""
        with (
            contextlib.closing(self.fetcher),
            contextlib.closing(self.outputs),
            self.slot,
            ThreadPoolExecutor(THREADS, "reader") as readers,
            ThreadPoolExecutor(THREADS, "writer") as self.writers,
        ):
            try:
                for loaded in self._loaded(readers):
                    self.spent["decode"] += loaded.seconds
                    self._log_failures(loaded.index, loaded.outcomes)
                    self._take(loaded)
                if self.editor is not None:
                    for result in self.editor.flush():
                        self._write(result)
                self.slot.close()
            except BaseException:
                readers.shutdown(wait=False, cancel_futures=True)
                self.writers.shutdown(wait=False, cancel_futures=True)
                raise
            while self.writing:
                self._collect()
        outcomes = [one for _, _, one in sorted(self.outcomes, key=lambda entry: entry[:2])]
        if self.editor is None:
            return Work(outcomes, seconds=self.spent)
        tally = self.editor.tally
        whole = time.perf_counter() - self.opened
        self.spent |= {"invert": tally.invert, "edit": tally.edit, "all": whole}
        return Work(outcomes, tally.evaluations, self.spent, self.network.halved)

    # Reading

    def _loaded(self, readers: ThreadPoolExecutor) -> Iterator[_Loaded]:
        """The images in order, read ahead by about a batch."""
        ahead: deque[Future[_Loaded]] = deque()
        positions = iter(range(len(self.chunk.sources)))
        while True:
            while len(ahead) < max(8, self.batch + THREADS) and not self._over():
                index = next(positions, None)
                if index is None:
                    break
                ahead.append(readers.submit(self._load, index))
            if not ahead:
                return
            started = time.perf_counter()
            loaded = ahead.popleft().result()
            self.spent["wait"] += time.perf_counter() - started
            yield loaded

    def _over(self) -> bool:
        """Whether no further image is to be begun: told from outside, or by the budget of failures."""
        failed = (
            sum(one.status == "failed" for _, _, one in self.outcomes)
            if self.chunk.allowed is not None
            else 0
        )
        return self.chunk.told_to_stop() or (self.chunk.allowed is not None and failed > self.chunk.allowed)

    def _load(self, index: int) -> _Loaded:
        """Read one image, find what is there of it already, and show it as the model sees it."""
        chunk, source = self.chunk, self.chunk.sources[index]
        loaded = _Loaded(index, source.name, [])
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

    def _read(self, loaded: _Loaded, source: Source) -> None:
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

    def _lacks(self, loaded: _Loaded, source: Source) -> frozenset[int]:
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

    def _skip(self, loaded: _Loaded) -> list[int]:
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

    def _cached(self, loaded: _Loaded, todo: list[int]) -> "dict[Grid, NDArray[Any]]":
        from loco.inversion import Grid

        edits = [self.chunk.edits[k] for k in todo]
        means = {}
        for grid in {Grid.of(edit.recipe) for edit in edits if edit.strength != 0}:
            found = self.cache.get(self._key(loaded.items[todo[0]].image_id, grid))
            if found is not None:
                means[grid] = found
        return means

    def _key(self, image_id: str, grid: "Grid") -> str:
        model = self.chunk.model
        return grid.key(model.id, model.train_steps, image_id, self.chunk.edits[0].recipe)

    # The network

    def _take(self, loaded: _Loaded) -> None:
        if loaded.x0 is None or not loaded.items:
            return
        from flows.apply.batches import Image, Result

        image = Image(loaded.x0, loaded.means, loaded)
        todo = list(loaded.items)
        zero = [k for k in todo if self.chunk.edits[k].strength == 0]
        for k in zero:  # costs no evaluation, not even a network
            self._write(Result(image, k, None, {"lambda": 0.0}, 0.0))
        for k in loaded.lacks & set(todo) - set(zero):
            self._write(Result(image, k, None, {"lambda": 0.0}, 0.0, no_effect=True))
        todo = [k for k in todo if k not in zero and k not in loaded.lacks]
        if todo:
            if self.editor is None:
                self.editor = self._open()
            for result in self.editor.take(image, todo):
                self._write(result)

    def _open(self) -> "Editor":
        """The network and the directions, opened when there is work for them."""
        import torch

        from flows.apply.batches import Editor
        from flows.apply.pushes import pushes_of
        from flows.device.models import open_fast
        from flows.device.steady import SteadyDenoiser
        from loco.diffusion.guidance import under

        chunk = self.chunk
        device = self.slot.enter_context(slots.held(slots.settled())).device
        self.opened = time.perf_counter()
        dtype = getattr(torch, chunk.edits[0].recipe.dtype)
        registry = Registry(Home(chunk.home), chunk.registry_url)
        pushes, which = pushes_of(registry, chunk.edits, device, dtype)
        self.lengths = [pushes[one].length for one in which]
        self.batch = fitting(Home(chunk.home), chunk.model, device, batch_of(chunk.model, device))
        opened = open_fast(chunk.model, chunk.edits[0].recipe.dtype, device)
        self.network = SteadyDenoiser(under(opened, chunk.edits[0].recipe), f"{chunk.model.id} {device}")
        return Editor(
            self.network,
            tuple(edit.recipe for edit in chunk.edits),
            tuple(edit.strength for edit in chunk.edits),
            pushes,
            which,
            batch=self.batch,
            keep=self._keep,
        )

    def _keep(self, image: "Image", grid: "Grid", means: NDArray[Any]) -> None:
        """Put a path into the cache, in a writer's thread."""
        loaded: _Loaded = image.carried
        key = self._key(next(iter(loaded.items.values())).image_id, grid)
        self.writers.submit(self.cache.put, key, means)

    # Writing

    def _write(self, result: "Result") -> None:
        """Hand a result to the writers; waits while too much is on the way."""
        while len(self.writing) >= 4 * self.batch + 2 * THREADS:
            self._collect()
        while self.writing and self.writing[0].done():
            self._collect()
        self.writing.append(self.writers.submit(self._finish, result))

    def _collect(self) -> None:
        index, k, outcome, seconds = self.writing.popleft().result()
        self.spent["encode"] += seconds
        self.outcomes.append((index, k, outcome))

    def _finish(self, result: "Result") -> tuple[int, int, EditOutcome, float]:
        """Make, write and log one output."""
        started = time.perf_counter()
        chunk, k = self.chunk, result.edit
        loaded: _Loaded = result.image.carried
        item, edit = loaded.items[k], chunk.edits[k]
        source = chunk.sources[loaded.index]
        try:
            picture = loaded.picture or picture_of(loaded.data, place_of(source), source.name)
            delta = result.change
            if delta is None:
                delta = np.zeros(chunk.model.shape, np.float32)
            weight = None
            if loaded.mask is not None:
                weight = feather(loaded.mask, edge_of(loaded.mask, edit.recipe.feather))
            claim = self._claim(item, k, picture, result) if delta.any() else None
            done = changed(picture, delta, chunk.format, weight)
            made = marked_file(picture, done, chunk.format, chunk.marks, claim, loaded.data)
            self._put(item.output, made.data)
            item = replace(item, checksum=bytes_id(made.data), metrics={"change": 0.0} | result.metrics)
            seconds = result.seconds + time.perf_counter() - started
            notes = (*picture.notes, *filter(None, [loaded.note]), *made.notes)
            if k in loaded.lacks:
                notes = (*notes, f"passed through: it has no {' and no '.join(edit.regions)}")
            if picture.alpha is not None and not FORMATS[chunk.format].transparent:
                notes = (*notes, f"{chunk.format} has no transparency: white shows through")
            if edit.strength != edit.asked:
                notes = (*notes, f"clipped to the linear range: {edit.asked:g} became {edit.strength:g}")
            status = "no_effect" if result.no_effect else "done"
            place = place_of(source)
            line = line_of(item, edit, status, seconds, notes=notes, marks=made.marks, source=place)
            self.outputs.log(line)
        except (LocoError, MemoryError) as error:
            cause = told(str(error)) or "not enough memory"
            outcome = EditOutcome(loaded.name, item.output, edit.asked, "failed", cause=cause)
            self._log_failures(loaded.index, [outcome], collect=False)
            return loaded.index, k, outcome, time.perf_counter() - started
        kept = replace(item, output=self.outputs.path(item.output))
        outcome = EditOutcome(
            loaded.name, item.output, edit.asked, "done", kept, no_effect=result.no_effect, note=loaded.note
        )
        return loaded.index, k, outcome, time.perf_counter() - started

    def _claim(self, item: EditItem, k: int, picture: Picture, result: "Result") -> Claim:
        """What an edited output says of itself; `result` has the length of what was added to x_t."""
        chunk, edit = self.chunk, self.chunk.edits[k]
        scale = float(result.metrics["lambda"]) / self.lengths[k] if self.lengths[k] else 0.0
        strengths = [
            weight * (edit.strength if edit.recipe.unit == "lambda" else scale) for weight in edit.weights
        ]
        also = chunk.marks.also
        return Claim(
            edit_id=item.id,
            model=chunk.model.id,
            source=item.image_id,
            directions=tuple(name for name, _ in edit.recipe.directions),
            strengths=tuple(strengths),
            software=software(),
            before=before(picture.xmp),
            run=chunk.run_id if "run" in also else "",
            name=item.image_name if "name" in also else "",
            prompt=edit.recipe.prompt if "prompt" in also else "",
        )

    def _put(self, output: str, data: bytes) -> None:
        """Write an output, unless its name is somebody else's."""
        file = self.outputs.file_of(output)
        if file not in self.foreign:
            self.outputs.write(output, data)
        elif not self.outputs.sound(output, bytes_id(data)):  # as where our manifest was deleted
            raise self.outputs.taken(file)

    def _log_failures(self, index: int, outcomes: list[EditOutcome], collect: bool = True) -> None:
        """Lines for what failed or lacks its region; a manifest that does not take them is told of by the run."""
        by_output = {
            output_of(self.chunk.stems[index], edit, self.chunk.form): edit for edit in self.chunk.edits
        }
        if collect:
            self.outcomes += [(index, k, outcome) for k, outcome in enumerate(outcomes)]
        lines = [
            failure_line(self.chunk, self.chunk.sources[index], by_output[one.output], one)
            for one in outcomes
            if one.status in ("failed", "absent")
        ]
        if lines:
            with contextlib.suppress(LocoError):
                self.outputs.log(*lines)
