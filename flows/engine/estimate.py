"""What a run would take, told before it: by what is there already, and the last measured rate of a run like it."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from registry.records import RunRecord

MEASURED = "measured"
"""Where a run's provenance has what it measured: images, evaluations, and seconds of one worker."""


@dataclass(frozen=True)
class Estimate:
    """A job's size, and how long it takes.

    Attributes:
        kind: Of the job.
        images: Images that it is of.
        known: Of these, images for which nothing is left to compute.
        edits: Output files of the images that are left; 0 for what makes none.
        evaluations: Network evaluations, at most: inverted images in the cache save some; None where no run told.
        bytes: Of what is written, about; None where nothing says.
        steps: Solver steps, where they are settled.
        workers: Chunks at a time.
        seconds: How long, from the last measured rate, else from one measured evaluation; None where neither is known.
        rate: What a worker did then: evaluations a second, or images where those are not known.
        run: The run that told it.
    """

    kind: str
    images: int
    known: int
    edits: int
    evaluations: int | None
    bytes: int | None
    steps: int | None
    workers: int
    seconds: float | None = None
    rate: float | None = None
    run: str | None = None


def measured(images: int, evaluations: int, seconds: float) -> dict[str, Any]:
    """What a run keeps of itself for later estimates; nothing where nothing was computed."""
    if not images or seconds <= 0:
        return {}
    return {MEASURED: {"images": images, "evaluations": evaluations, "seconds": round(seconds, 3)}}


@dataclass(frozen=True)
class Rate:
    """What a worker did in the last run of a kind and model on this machine: per image, and in all."""

    run: str
    images: int
    evaluations: int
    seconds: float


def last_rate(runs: Iterable[RunRecord], model_id: str) -> Rate | None:
    """The latest of the runs (the latest first) that was measured with this model on this machine."""
    for run in runs:
        told = run.provenance.get(MEASURED)
        if (
            not isinstance(told, dict)
            or run.spec.get("model_id") != model_id
            or run.provenance.get("host") != platform.node()
        ):
            continue
        try:
            rate = Rate(run.id, int(told["images"]), int(told["evaluations"]), float(told["seconds"]))
        except (KeyError, TypeError, ValueError):
            continue
        if rate.images > 0 and rate.seconds > 0:
            return rate
    return None


def estimated(
    runs: Iterable[RunRecord],
    model_id: str,
    *,
    kind: str,
    images: int,
    known: int,
    workers: int,
    evaluations: int | None = None,
    edits: int = 0,
    bytes: int | None = None,
    steps: int | None = None,
    guess: tuple[int, float] | None = None,
) -> Estimate:
    """The estimate of a job of that size. Where evaluations are not known beforehand, an image takes what it took.

    Where no run was measured, `guess` says how many evaluations an image costs, and the seconds of one.
    """
    rate, left = last_rate(runs, model_id), images - known
    if evaluations is None and rate is not None and rate.evaluations:
        evaluations = round(left * rate.evaluations / rate.images)
    if rate is None and guess is not None:
        evaluations = left * guess[0]
    if not left:
        evaluations = 0
    seconds = each = None
    if rate is None and guess is not None:
        each = 1 / max(guess[1], 1e-9)
        seconds = (evaluations or 0) / each / workers
    if rate is not None:
        by_image = evaluations is None or not rate.evaluations
        each = (rate.images if by_image else rate.evaluations) / rate.seconds
        seconds = (left if by_image else evaluations or 0) / each / workers
    return Estimate(
        kind,
        images,
        known,
        edits,
        evaluations,
        bytes,
        steps,
        workers,
        None if seconds is None else round(seconds, 1),
        None if each is None else round(each, 3),
        None if rate is None else rate.run,
    )
