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
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from flows.apply.edits import ApplyChunk, EditOutcome, Work
from flows.apply.reading import Loaded, Reader
from flows.apply.writing import Writer
from flows.device import slots
from flows.device.measured import fitting
from flows.inputs.sources import Fetcher
from flows.outputs.packed import outputs_at
from registry.files.cache import Cache
from registry.home import Home
from registry.records import ModelRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from flows.apply.batches import Editor, Image, Result
    from loco.inversion import Grid

THREADS = max(2, min(8, (os.cpu_count() or 2)))
"""Readers, and as many writers."""

BATCH = 32 * 32 * 32
"""Pixels that a CPU evaluates together: there larger batches are no faster."""

BATCH_GPU = 64 * 256 * 256


def batch_of(model: ModelRecord, device: str = "cpu") -> int:
    """Images of the model's size that are evaluated together."""
    _, height, width = model.shape
    room = BATCH if device == "cpu" else BATCH_GPU
    return max(4, min(512, room // (height * width)))


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
        self.slot = contextlib.ExitStack()
        self.batch = 1
        self.spent = {"decode": 0.0, "encode": 0.0, "wait": 0.0}
        self.reader = Reader(chunk, self.outputs, self.cache, self.fetcher)
        self.writer = Writer(chunk, self.outputs)
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
                    self.outcomes += [(loaded.index, k, one) for k, one in enumerate(loaded.outcomes)]
                    self.writer.log_failures(loaded.index, loaded.outcomes)
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

    def _loaded(self, readers: ThreadPoolExecutor) -> Iterator[Loaded]:
        """The images in order, read ahead by about a batch."""
        ahead: deque[Future[Loaded]] = deque()
        positions = iter(range(len(self.chunk.sources)))
        while True:
            while len(ahead) < max(8, self.batch + THREADS) and not self._over():
                index = next(positions, None)
                if index is None:
                    break
                ahead.append(readers.submit(self.reader.load, index))
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

    # The network

    def _take(self, loaded: Loaded) -> None:
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

        from flows.apply.batches import Editor
        from flows.apply.pushes import pushes_of
        from flows.device.models import open_fast
        from flows.device.steady import SteadyDenoiser
        from loco.diffusion.guidance import under
        from loco.precision import algebra

        chunk = self.chunk
        device = self.slot.enter_context(slots.held(slots.settled())).device
        self.opened = time.perf_counter()
        dtype = algebra(chunk.edits[0].recipe.dtype)
        registry = Registry(Home(chunk.home), chunk.registry_url)
        pushes, which = pushes_of(registry, chunk.edits, device, dtype)
        self.writer.lengths = [pushes[one].length for one in which]
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
        loaded: Loaded = image.carried
        key = self.reader.key(next(iter(loaded.items.values())).image_id, grid)
        self.writers.submit(self.cache.put, key, means)

    # Writing

    def _write(self, result: "Result") -> None:
        """Hand a result to the writers; waits while too much is on the way."""
        while len(self.writing) >= 4 * self.batch + 2 * THREADS:
            self._collect()
        while self.writing and self.writing[0].done():
            self._collect()
        self.writing.append(self.writers.submit(self.writer.finish, result))

    def _collect(self) -> None:
        index, k, outcome, seconds = self.writing.popleft().result()
        self.spent["encode"] += seconds
        self.outcomes.append((index, k, outcome))
