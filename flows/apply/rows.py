"""What a run tells of its chunks: rows of the catalogue, and counts and lines for the engine."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from flows.apply.edits import ApplyChunk, EditOutcome, Work
from flows.engine.job import Failure, Tally
from registry.registry import Registry


class Rows:
    """Rows of one chunk at a time, written beside the work on the next one."""

    def __init__(self, registry: Registry, beside: ThreadPoolExecutor) -> None:
        self._registry, self._beside = registry, beside
        self._last: Future[None] | None = None

    def write(self, run_id: str, outcomes: list[EditOutcome]) -> None:
        """Begin to write, once what was begun before is written; raises what that raised."""
        self.wait()
        self._last = self._beside.submit(_catalogue, self._registry, run_id, outcomes)

    def wait(self) -> None:
        """Until all is written."""
        if self._last is not None:
            self._last.result()


def _catalogue(registry: Registry, run_id: str, outcomes: list[EditOutcome]) -> None:
    """Rows for what was made now, and for what a killed run made without living to write its row.

    The latter stay the killed run's, where this catalogue knows it; else they are this run's.
    """
    made = [one.edit for one in outcomes if one.edit and one.status == "done"]
    found = [one.edit for one in outcomes if one.edit and one.status == "skipped"]
    known = registry.known_edits([one.id for one in found])
    lost = [one for one in found if one.id not in known]
    if lost:
        runs = {run.id for run in registry.runs("apply")}
        lost = [one if one.run_id in runs else replace(one, run_id=run_id) for one in lost]
    registry.add_edits(made + lost)


def failed_after(failed: list[Failure]) -> Tally:
    """What failed beside the images, at the end: so many outputs more were planned."""
    lines = tuple(
        {"kind": "failure", "image": one.image, "output": one.part, "cause": one.cause} for one in failed
    )
    counts = {"planned": len(failed), "failed": len(failed)}
    return Tally(0, 0, counts, lines, tuple(failed))


def tally_of(chunk: ApplyChunk, result: Work, measuring: int) -> Tally:
    """What came of a chunk; `measuring` are evaluations that the number of steps cost."""
    counts = Counter(one.status for one in result.outcomes)
    counts["evaluations"] = result.evaluations
    counts["no_effect"] = sum(one.no_effect for one in result.outcomes)
    if measuring:
        counts["measuring"] = measuring
    if result.halved:
        counts["halved"] = result.halved
    failed = [one for one in result.outcomes if one.status == "failed"]
    absent = {one.image: one.cause for one in result.outcomes if one.status == "absent"}
    wide = {one.image: one.note for one in result.outcomes if one.note}
    notes = [f"{image}: {note}" for image, note in wide.items()]
    if result.halved:
        notes.append(f"{chunk.title}: out of memory, halved {result.halved} times; the run goes on")
    return Tally(
        len(result.outcomes),
        len({one.image for one in result.outcomes}),
        counts,
        tuple(
            {"kind": "failure", "image": one.image, "output": one.output, "cause": one.cause}
            for one in failed
        )
        + tuple(
            {"kind": "absent", "image": image, "absent": [["", reason]]} for image, reason in absent.items()
        ),
        tuple(Failure(one.image, one.output, one.cause, " -> {}") for one in failed),
        tuple(absent.items()),
        tuple(notes),
        len({one.image for one in result.outcomes if one.status == "done"}),
        result.seconds.get("all", 0.0),
    )
