"""Discovery over a dataset, as a job for the engine.

`discover_chunk` writes one basis file an image as soon as it is computed and touches no row; `record` indexes them.
What exists already is not computed again, whether or not the catalogue heard of it: a killed run leaves basis files,
and the same command finds and indexes them.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar

from flows.device.measured import measured, patience
from flows.discover.chunk import discover_chunk, is_known
from flows.discover.image import DiscoverChunk, ImageOutcome
from flows.engine.dataset import D, DatasetJob
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import PAGE, Sizer
from flows.engine.record import catalogue
from flows.engine.watch import Silence, Watch
from flows.jobs import DiscoverJob, plain
from loco.errors import UnknownName
from loco.files import sweep
from loco.rois.layouts import RoiSpec
from registry.home import Home
from registry.records import ImageRecord, ModelRecord, RunRecord

COUNTED = ("directions", "refused", "evaluations")


class OverRegions(DatasetJob[D]):
    """What discovery on each image and across all of them have in common: a model, a dataset and its regions."""

    def __init__(self, home: Home, url: str | None, asked: DiscoverJob) -> None:
        super().__init__(home, url, catalogue(home, url), asked.dataset, asked.limit, asked.shard)
        self.asked = asked

    @cached_property
    def model(self) -> ModelRecord:
        """The model of that name; raises `UnknownName`."""
        return self.registry.model(self.asked.model)

    def check(self) -> None:
        """Refuse a job whose model, dataset or ROIs do not exist; raises `UnknownName`."""
        _ = self.model
        allowed_failures(self.asked.max_failures, 0)
        for text in self.asked.rois:
            spec = RoiSpec.parse(text)
            if spec.from_masks and spec.name not in self.dataset.rois:
                known = ", ".join(self.dataset.rois) or "none"
                raise UnknownName(
                    f"dataset {self.asked.dataset!r} has no ROI {spec.name!r}; it has: {known}; "
                    f"or give a box: {spec.name}=box:x0,y0,x1,y1"
                )

    def prepare(self, watch: Watch) -> int:
        """The number of images, after a look for new ones where that was asked for."""
        self.watch = watch
        if self.asked.rescan:
            self._rescan(watch)
        return super().prepare(watch)

    def _rescan(self, watch: Watch) -> None:
        """Register what is new in the dataset's folder."""
        from flows.register import refreshed

        before = self.registry.dataset(self.asked.dataset)
        after = refreshed(before)
        if after is not None:
            self.registry.add_dataset(after)
            self.refreshed()
            watch.say(
                f"dataset {before.name!r} has {len(after.images)} images now, {len(before.images)} before"
            )

    def spec(self) -> dict[str, Any]:
        """The job, and which model and dataset its names meant."""
        return plain(self.asked) | {"model_id": self.model.id, "dataset_id": self.dataset.id}

    def patience(self) -> float:
        """As long as the model's speed here makes sensible."""
        return patience(self.home, self.model)

    def guess(self) -> tuple[int, float] | None:
        """What an image costs in evaluations, derivatives among them, and the seconds of one as `model add` took them.

        Counted on the embedded model at the default tolerance: 131 with one region, 219 with three.
        """
        known = measured(self.home, self.model)
        if known is None:
            return None
        recipe = self.asked.recipe
        cost = recipe.steps + 67 + 5.5 * len(self.asked.rois) * (recipe.rank + recipe.null_rank)
        return round(cost), known.seconds

    def labels(self) -> dict[str, list[str]]:
        """Dataset, model and regions."""
        regions = [roi.partition("=")[0] for roi in self.asked.rois]
        return {"dataset": [self.asked.dataset], "model": [self.asked.model], "roi": regions}

    def title(self) -> str:
        """What people recognise a run by."""
        regions = ", ".join(self.labels()["roi"])
        return f"{self.asked.dataset} x {self.asked.model}: {regions}"

    def asked_of(self, images: tuple[ImageRecord, ...]) -> DiscoverChunk:
        """What is to be found in these images, as a chunk."""
        return DiscoverChunk(
            **self.common(),
            model=self.model,
            rois=self.asked.rois,
            recipe=self.asked.recipe,
            images=images,
            max_memory=self.asked.max_memory,
        )

    def say_if_absent(self, run: RunRecord) -> None:
        """A note where no image has any of the regions."""
        if 0 < len(self.part) == run.counts["absent"]:
            self.watch.say(
                f"note: none of the {len(self.part)} images has any of these regions: look at their masks"
            )


class Discovery(OverRegions[DiscoverChunk]):
    """Directions of a model in the regions of a dataset's images."""

    kind: ClassVar[str] = "discover"

    def known(self) -> bool:
        """Whether every image has its basis file, so that no network is needed, unless one turns out to be broken."""
        planned = 0 if self.asked.rescan else super().prepare(Silence())
        if not planned or self.registry.summary()["bases"] == 0:
            return False
        for start in range(self.part.start, self.part.stop, PAGE):
            images = tuple(self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start)))
            if not all(is_known(self.asked_of((one,))) for one in images):
                return False
        return True

    def estimate(self) -> Estimate:
        """Images without a basis file; what one took in the last run with this model, which alone knows that."""
        images, known = super().prepare(Silence()), 0
        for start in range(self.part.start, self.part.stop, PAGE):
            page = self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start))
            known += sum(is_known(self.asked_of((one,))) for one in page)
        each = len(self.asked.rois) * (4 * self.asked.recipe.rank + 1 / 8) * math.prod(self.model.shape)
        return estimated(
            self.registry.runs(self.kind),
            self.model.id,
            kind=self.kind,
            images=images,
            known=known,
            workers=self.asked.runner.workers,
            bytes=round((images - known) * each),
            guess=self.guess(),
        )

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Images done, and what was found in them."""
        counts = Counter[str]()
        for line in lines:
            if line.get("status") == "done":
                counts.update(done=1, **{name: int(line.get(name) or 0) for name in COUNTED})
        return dict(counts)

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[DiscoverChunk]:
        """All of them, in order."""
        return map(self.asked_of, self.pages(sizer))

    @staticmethod
    def work(chunk: DiscoverChunk) -> list[ImageOutcome]:
        """`discover_chunk`."""
        return discover_chunk(chunk)

    def lost(self, run: RunRecord, chunk: DiscoverChunk, cause: str) -> list[ImageOutcome]:
        """Its images failed."""
        return [ImageOutcome(name, "failed", failures=(("", cause),)) for name in chunk.names]

    def record(self, run: RunRecord, chunk: DiscoverChunk, result: list[ImageOutcome]) -> Tally:
        """Index the basis files."""
        self.registry.index(*dict.fromkeys(one.basis_id for one in result if one.basis_id))
        counts, notes = Counter[str](), list[str]()
        for one in result:
            counts.update({one.status: 1})
            counts.update(refused=one.refused, evaluations=one.evaluations)
            counts.update(directions=one.directions if one.evaluations else 0)
            if one.halved:
                counts.update(halved=one.halved)
                notes.append(f"{one.image}: out of memory, halved {one.halved} times; the run goes on")
            notes += [f"{one.image}: {note}" for note in one.notes]
        computed = [one for one in result if one.evaluations]
        return Tally(
            len(result),
            len(result),
            counts,
            tuple(map(_line, result)),
            tuple(Failure(one.image, roi, cause) for one in result for roi, cause in one.failures),
            tuple((one.image, reason) for one in result for _, reason in one.absent),
            tuple(notes),
            len(computed),
            sum(one.seconds for one in computed),
            tuple(one.basis_id for one in result if one.basis_id and one.directions),
        )

    def finish(self, run: RunRecord) -> None:
        """Clear what a killed run left half written."""
        sweep(self.home.bases)
        self.say_if_absent(run)


def _line(outcome: ImageOutcome) -> dict[str, object]:
    kind = "failure" if outcome.failures else "absent" if outcome.status == "absent" else "basis"
    return {"kind": kind} | asdict(outcome)
