"""What jobs over the images of a registered dataset have in common: discovery and scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from flows.engine.job import Chunk
from flows.engine.options import Shard
from flows.engine.plan import Sizer, chunks, part_of
from flows.engine.watch import Watch
from registry.home import Home
from registry.records import DatasetRecord, ImageRecord, RunRecord
from registry.registry import Registry


@dataclass(frozen=True, kw_only=True)
class DatasetChunk(Chunk):
    """Some images of a dataset.

    Attributes:
        root, masks: The dataset's folders.
        images: What to work on; the same bytes under two names stand beside each other.
    """

    root: Path
    masks: Path | None
    images: tuple[ImageRecord, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What its images are called."""
        return tuple(one.name for one in self.images)


D = TypeVar("D", bound=DatasetChunk)


class DatasetJob(Generic[D]):
    """A job whose items are the first `limit` images of the dataset of that name, or a shard of those."""

    items: ClassVar[str] = "images"

    def __init__(
        self,
        home: Home,
        url: str | None,
        registry: Registry,
        name: str,
        limit: int | None,
        shard: Shard | None,
    ) -> None:
        self.home, self.url, self.registry = home, url, registry
        self._name, self._limit, self._shard = name, limit, shard
        self._dataset: DatasetRecord | None = None
        self.part = range(0)

    @property
    def dataset(self) -> DatasetRecord:
        """The dataset, without its images."""
        if self._dataset is None:
            self._dataset = self.registry.dataset(self._name, pictured=False)
        return self._dataset

    def refreshed(self) -> None:
        """The dataset was registered anew."""
        self._dataset = None

    def prepare(self, watch: Watch) -> int:
        """The number of images."""
        count = self.registry.image_counts().get(self._name, 0)
        count = count if self._limit is None else min(count, self._limit)
        self.part = part_of(self.registry, self.dataset, count, self._shard)
        return len(self.part)

    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Images that the dataset could not read."""
        return self.dataset.unreadable

    def pages(self, sizer: Sizer) -> Iterator[tuple[ImageRecord, ...]]:
        """The images in chunks of the sizer's sizes."""
        return chunks(self.registry, self.dataset, self.part.stop, sizer, self.part.start)

    def common(self) -> dict[str, Any]:
        """What every chunk has of the home and the dataset."""
        masks = self.dataset.masks
        return {
            "home": self.home.root,
            "registry_url": self.url,
            "root": Path(self.dataset.path),
            "masks": Path(masks) if masks else None,
        }

    def halved(self, chunk: D) -> tuple[D, D] | None:
        """Its first and second half; a single image has none."""
        half = len(chunk.images) // 2
        if not half:
            return None
        return replace(chunk, images=chunk.images[:half]), replace(chunk, images=chunk.images[half:])

    def finish(self, run: RunRecord) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing was taken."""
