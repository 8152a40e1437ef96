"""Transfer scores, as a job for the engine: how directions do on other images of a dataset, each in its own region.

`score_chunk` measures and returns figures; `record` writes them to the run's journal and the catalogue. What was scored
before at the same strength and steps is not scored again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from flows.device.measured import patience
from flows.engine.dataset import DatasetJob
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import PAGE, Sizer
from flows.engine.record import catalogue
from flows.engine.watch import Silence, Watch
from flows.jobs import ScoreJob, plain
from flows.register import model_for
from flows.score.chunk import ScoreChunk, ScoreOutcome, score_chunk
from flows.score.reference import IMAGES, number_of
from loco.direction import Direction
from loco.errors import InputError
from loco.measure.scores import STRENGTHS, carried
from registry.files import manifests
from registry.home import Home
from registry.records import ImageRecord, ModelRecord, RunRecord, Score, Transfer, now
from registry.registry import Registry

_CLIMB = 45
"""Evaluations of following a strength up, both signs, without the edits."""

ROW = 700
"""Bytes of a score in the catalogue and the journal, about."""


class Scoring(DatasetJob[ScoreChunk]):
    """Scores of directions on a dataset's images."""

    kind: ClassVar[str] = "score"

    def __init__(self, home: Home, url: str | None, asked: ScoreJob) -> None:
        super().__init__(home, url, catalogue(home, url), asked.dataset, asked.limit, asked.shard)
        self.asked = asked

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """What is scored; raises `InputError` for directions that do not go together."""
        return _directions(self.registry, self.asked)

    @cached_property
    def model(self) -> ModelRecord:
        """The model of all of them; raises `InputError` where it is not registered."""
        return model_for(self.registry, self.directions[0])

    def prepare(self, watch: Watch) -> int:
        """The number of images, without those that are left out."""
        super().prepare(watch)
        self.part = range(min(max(self.part.start, self.asked.skip), self.part.stop), self.part.stop)
        return len(self.part)

    @cached_property
    def _reference(self) -> tuple[ImageRecord, ...]:
        """The images that mean changes are taken over: the dataset's first, whatever part of it is asked for."""
        return tuple(self.registry.images(self.dataset, self.asked.skip, IMAGES))

    @property
    def _climbed(self) -> frozenset[str]:
        """Ids of the images on which strengths are followed up."""
        return frozenset(one.id for one in self._reference[: self.asked.climbs])

    def check(self) -> None:
        """Refuse directions that do not go together, or a dataset that does not exist; raises `LocoError`."""
        _ = self.model, self.dataset
        allowed_failures(self.asked.max_failures, 0)

    def known(self) -> bool:
        """Not told beforehand."""
        return False

    def estimate(self) -> Estimate:
        """Pairs of image and direction without a score: an inversion an image, a response and a way down each."""
        images, known, evaluations, scores = self.prepare(Silence()), 0, 0, 0
        inverted = set[str]()
        scored, steps = _known(self.registry, self.directions, self.asked, self._reference), self.asked.steps
        for start in range(self.part.start, self.part.stop, PAGE):
            for one in self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start)):
                left = sum((direction.id, one.id) not in scored for direction in self.directions)
                known += not left
                scores += left
                edit = 0 if self.asked.strength is None else steps
                evaluations += steps + 1 + len(self.directions) * (1 + edit) if left else 0
                climbs = self.asked.strength is None and one.id in self._climbed
                evaluations += left * (_CLIMB + 2 * steps) if climbs else 0
                inverted.update([one.id] if left else ())
        if scores:
            beside = [one for one in self._reference if one.id not in inverted]
            evaluations += len(beside) * (steps + 1 + len(self.directions))
        return estimated(
            self.registry.runs(self.kind),
            self.model.id,
            kind=self.kind,
            images=images,
            known=known,
            workers=self.asked.runner.workers,
            evaluations=evaluations,
            bytes=scores * ROW,
            steps=steps,
        )

    def spec(self) -> dict[str, Any]:
        """The job, and which model and dataset its names meant."""
        return plain(self.asked) | {"model_id": self.model.id, "dataset_id": self.dataset.id}

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Images scored, and their scores."""
        scored = [line["score"]["image_id"] for line in lines if line["kind"] == "score"]
        return {"done": len(set(scored)), "scores": len(scored)}

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[ScoreChunk]:
        """All images, in order, each chunk with what is known of it."""
        known = _known(self.registry, self.directions, self.asked, self._reference)
        regions = tuple(_region(self.registry, one) for one in self.directions)
        for images in self.pages(sizer):
            pairs = ((one.id, image.id) for one in self.directions for image in images)
            yield ScoreChunk(
                **self.common(),
                model=self.model,
                images=images,
                run_id=run.id,
                directions=self.directions,
                rois=regions,
                strength=self.asked.strength,
                steps=self.asked.steps,
                reference=self._reference,
                climbed=self._climbed,
                known=frozenset(pair for pair in pairs if pair in known),
            )

    @staticmethod
    def work(chunk: ScoreChunk) -> list[ScoreOutcome]:
        """`score_chunk`."""
        return score_chunk(chunk)

    def lost(self, run: RunRecord, chunk: ScoreChunk, cause: str) -> list[ScoreOutcome]:
        """Its images failed."""
        return [ScoreOutcome(name, failures=[("", cause)]) for name in chunk.names]

    def record(self, run: RunRecord, chunk: ScoreChunk, result: list[ScoreOutcome]) -> Tally:
        """Write the scores."""
        self.registry.add_scores(score for one in result for score in one.scores)
        counts = Counter[str]()
        for one in result:
            counts.update({one.status: 1})
            counts.update(scores=len(one.scores), evaluations=one.evaluations)
            if one.halved:
                counts.update(halved=one.halved)
        computed = [one for one in result if one.scores]
        return Tally(
            len(result),
            len(result),
            counts,
            tuple(
                {"kind": kind, "image": one.image, name: told}
                for one in result
                for kind, name, told in (
                    ("failure", "failures", one.failures),
                    ("absent", "absent", one.absent),
                )
                if told
            ),
            tuple(Failure(one.image, roi, cause) for one in result for roi, cause in one.failures),
            tuple((one.image, reason) for one in result for _, reason in one.absent),
            tuple(
                f"{one.image}: out of memory, smaller batches from here on" for one in result if one.halved
            ),
            len(computed),
            sum(one.seconds for one in computed),
        )

    def patience(self) -> float:
        """As long as the model's speed here makes sensible."""
        return patience(self.home, self.model)

    def finish(self, run: RunRecord) -> None:
        """What the scores of each direction come to, over all images of the dataset that were scored so."""
        images = {
            one.id: one.name
            for start in range(self.asked.skip, self.registry.image_counts().get(self.asked.dataset, 0), PAGE)
            for one in self.registry.images(self.dataset, start, PAGE)
        }
        absent = _absent(self.registry, self.home, self.dataset.id)
        number, at, told = number_of(self._reference), now(), list[Transfer]()
        before = self.registry.transfers(one.id for one in self.directions)
        for direction in self.directions:
            figures = {
                score.image_id: score.figures
                for score in self.registry.scores(direction.id)
                if score.image_id in images
                and score.image_id != direction.image_id
                and _so(score, self.asked, number)
            }
            lacking = (
                {image for image, name in images.items() if (name, direction.roi) in absent}
                - figures.keys()
                - {direction.image_id}
            )
            if not figures and not lacking:
                continue
            found = carried(figures, direction.gain, len(lacking))
            one = Transfer(direction.id, at, run.id, self.asked.dataset, len(figures), **found)
            told.append(_with_strength(one, before.get(direction.id)))
        self.registry.add_transfers(told)

    def labels(self) -> dict[str, list[str]]:
        """Dataset and model."""
        return {"dataset": [self.asked.dataset], "model": [self.model.name]}

    def title(self) -> str:
        """What people recognise a run by."""
        return f"score on {self.asked.dataset}"


def _directions(registry: Registry, job: ScoreJob) -> tuple[Direction, ...]:
    """The job's directions; raises `InputError` when they are of several models or noise levels."""
    found = tuple(dict.fromkeys(registry.direction(name) for name in job.directions))
    if len({(one.model, one.t, one.shape, one.prompt) for one in found}) != 1:
        raise InputError(
            "score: the directions must be of one model, one t and one prompt; score the others in a run of their own"
        )
    return found


def _region(registry: Registry, direction: Direction) -> str:
    """The direction's region as it is asked for on another image: by name, or by what it was made from."""
    [source] = [one.source for one in registry.basis(direction.basis_id).rois if one.id == direction.roi_id]
    again = source.startswith(("box:", "segment:", "sam:"))
    return f"{direction.roi}={source}" if again else direction.roi


def _known(
    registry: Registry, directions: tuple[Direction, ...], job: ScoreJob, reference: Sequence[ImageRecord]
) -> set[tuple[str, str]]:
    """Pairs of direction and image that have a score at this strength, these steps and with this reference."""
    number = number_of(reference)
    return {
        (one.id, score.image_id)
        for one in directions
        for score in registry.scores(one.id)
        if _so(score, job, number)
    }


def _so(score: Score, job: ScoreJob, number: float) -> bool:
    figures = score.figures
    same = score.strength == (job.strength or 0.0) and figures.get("steps") == job.steps
    return same and figures.get("reference") == number


def _absent(registry: Registry, home: Home, dataset_id: str) -> set[tuple[str, str]]:
    """Pairs (image name, region) of which a run on this dataset told that the region is not there."""
    return {
        (line["image"], region)
        for run in registry.runs("score")
        if run.spec.get("dataset_id") == dataset_id
        for line in manifests.stream(manifests.manifest_path(home, run.id))
        if line["kind"] == "absent"
        for region, _ in line["absent"]
    }


def _with_strength(found: Transfer, before: Transfer | None) -> Transfer:
    """What was found, with the strength that was measured before where none is measured now."""
    if found.strength is not None or before is None or before.strength is None:
        return found
    details = {key: before.details[key] for key in STRENGTHS if key in before.details}
    kept = {
        name: getattr(before, name)
        for name in ("strength", "strength_least", "strength_most", "transfer_range")
    }
    return replace(found, **kept, details=found.details | details)
