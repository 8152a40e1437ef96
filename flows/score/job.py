"""Transfer scores, as a job for the engine: how directions do on other images of a dataset, each in its own region.

`score_chunk` measures and returns figures; `record` writes them to the run's journal and the catalogue. What was scored
before at the same strength and steps is not scored again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

from flows.device.measured import patience
from flows.engine.dataset import DatasetJob
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import PAGE, Sizer
from flows.engine.record import catalogue
from flows.engine.watch import Silence
from flows.jobs import ScoreJob, plain
from flows.score.chunk import ScoreChunk, ScoreOutcome, score_chunk
from loco.direction import Direction
from loco.errors import InputError
from registry.home import Home
from registry.records import ModelRecord, RunRecord
from registry.registry import Registry

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
        return _model_of(self.registry, self.directions)

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
        scored, steps = _known(self.registry, self.directions, self.asked), self.asked.steps
        for start in range(self.part.start, self.part.stop, PAGE):
            for one in self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start)):
                left = sum((direction.id, one.id) not in scored for direction in self.directions)
                known += not left
                scores += left
                evaluations += steps + 1 + len(self.directions) * (2 + steps) if left else 0
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
        known = _known(self.registry, self.directions, self.asked)
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


def _model_of(registry: Registry, directions: tuple[Direction, ...]) -> ModelRecord:
    known = [one for one in registry.models() if one.id == directions[0].model]
    if not known:
        raise InputError(
            f"direction {directions[0].short} belongs to model {directions[0].model[:12]}, which is not registered "
            f"here; add it with `loco model add NAME SOURCE`"
        )
    return known[0]


def _region(registry: Registry, direction: Direction) -> str:
    """The direction's region as it is asked for on another image: by name, or by what it was made from."""
    [source] = [one.source for one in registry.basis(direction.basis_id).rois if one.id == direction.roi_id]
    again = source.startswith(("box:", "segment:", "sam:"))
    return f"{direction.roi}={source}" if again else direction.roi


def _known(registry: Registry, directions: tuple[Direction, ...], job: ScoreJob) -> set[tuple[str, str]]:
    """Pairs of direction and image that have a score at this strength and these steps."""
    return {
        (one.id, score.image_id)
        for one in directions
        for score in registry.scores(one.id)
        if score.strength == job.strength and score.figures.get("steps") == job.steps
    }
