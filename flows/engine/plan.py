"""The plan of a run: a dataset's images in chunks, drawn lazily, sized by what was measured on the way.

A chunk should take 20 to 120 s, so that its overhead is small and a lost one costs little, and a run should have about
`TASKS` of them at most, because every task costs the server rows, however large the dataset is.
"""

import math
from collections.abc import Iterator

from flows.engine.options import Shard
from registry.records import DatasetRecord, ImageRecord
from registry.registry import Registry

SECONDS = 45.0
"""What a chunk should take."""

TASKS = 180
"""Chunks a run: the few that failures add come on top."""

FIRST = 4
"""Images in the first chunks, before anything was measured."""

WARM_UP = 8
"""Chunks in which to measure before the number of tasks is looked at."""

GROWTH = 4
"""A chunk has at most so many times the images of the largest that came back."""

BLIND = 250
"""Images in a chunk while nothing had to be computed, so that nothing is known."""

PAGE = 2000
"""Images in memory at a time."""

_TWINS = 64
"""Images with the same bytes that are kept in one chunk, beyond its size."""


class Sizer:
    """How many images the next chunk takes."""

    def __init__(self, workers: int = 1) -> None:
        """Size chunks for so many that are worked on at a time."""
        self.workers = workers
        self.handed = 0
        self.most: int | None = None
        self.largest = FIRST // GROWTH
        self.rate: float | None = None

    def begin(self, first: int, most: int | None = None) -> None:
        """Begin with chunks of so many images, and go beyond `most` only where there would be too many chunks."""
        self.largest, self.most = max(1, first // GROWTH), most

    def again(self) -> None:
        """Another pass over the items begins: what was measured stays, and chunks are counted anew."""
        self.handed = 0

    def next(self, remaining: int) -> int:
        """Images in the chunk that is handed out now, at least 1, of `remaining` (at least 1)."""
        wanted = BLIND if self.rate is None else max(1, round(SECONDS / max(self.rate, 1e-6)))
        size = min(wanted, self.largest * GROWTH, self.most or wanted)
        size = min(size, math.ceil(remaining / self.workers))  # the last ones end together
        if self.handed >= WARM_UP:
            size = max(size, math.ceil(remaining / max(1, TASKS - self.handed)))
        self.handed += 1
        return max(1, min(size, remaining))

    def learn(self, images: int, computed: int, seconds: float) -> None:
        """What a chunk of so many images took, of which some were computed in so many seconds."""
        self.largest = max(self.largest, images)
        if computed:
            rate = seconds / computed
            self.rate = rate if self.rate is None else (self.rate + rate) / 2

    def patience(self, images: int, each: float) -> float:
        """Seconds that a chunk of so many images may take, of which each may take `each`.

        One image may hang for its whole time; the others take about what is usual.
        """
        usual = each if self.rate is None else min(each, 4 * self.rate)
        return each + usual * (images - 1) + SECONDS


def chunks(
    registry: Registry, dataset: DatasetRecord, planned: int, sizer: Sizer, first: int = 0
) -> Iterator[tuple[ImageRecord, ...]]:
    """The images `first` to `planned` of a dataset in order, a chunk at a time; memory holds a page of them.

    Images with the same bytes stand beside each other in a dataset and stay in one chunk, so that a chunk can see
    that they are one. Raises `InputError` when the dataset was added anew in between.
    """
    page: list[ImageRecord] = []
    read = first
    while read < planned or page:
        size = sizer.next(planned - read + len(page))
        while len(page) < size + _TWINS and read < planned:
            more = registry.images(dataset, read, min(max(PAGE, size), planned - read))
            if not more:
                planned = read
                break
            page += more
            read += len(more)
        if not page:
            return
        end = min(size, len(page))
        while end < min(len(page), size + _TWINS) and page[end].id == page[end - 1].id:
            end += 1
        yield tuple(page[:end])
        del page[:end]


def part_of(registry: Registry, dataset: DatasetRecord, count: int, shard: Shard | None) -> range:
    """The positions of a shard in the first `count` images of a dataset; of images with the same bytes all or none.

    Each program finds the same bounds, whatever its own part.
    """
    if shard is None:
        return range(count)
    block = shard.block(count)
    return range(_bound(registry, dataset, block.start, count), _bound(registry, dataset, block.stop, count))


def _bound(registry: Registry, dataset: DatasetRecord, position: int, count: int) -> int:
    """The first position from this one on that is no twin of the image before it."""
    while 0 < position < count:
        pair = registry.images(dataset, position - 1, 2)
        if len(pair) < 2 or pair[0].id != pair[1].id:
            break
        position += 1
    return position
