"""Scores on one chunk of images, in whichever process: measures, touches no row, returns figures."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.device import slots
from flows.engine.dataset import DatasetChunk
from flows.score.reference import Reference, held_responses, number_of, reference_of
from flows.score.regions import opener, regions_of
from loco.direction import Direction
from loco.errors import LocoError
from loco.images import Picture, to_model
from loco.rois.roi import Roi
from registry.files.cache import Cache
from registry.home import Home
from registry.records import ImageRecord, Score
from registry.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from loco.diffusion.denoiser import Denoiser
    from loco.inversion import InversionPath

BATCH = 8
"""Images inverted and edited together."""

DIRECTIONS = 32
"""Directions whose responses are in memory together."""


@dataclass(frozen=True, kw_only=True)
class ScoreChunk(DatasetChunk):
    """Some images, and what is to be scored on them.

    Attributes:
        run_id: The run.
        directions: What to score, all of the chunk's model.
        rois: The region of each, as on the command line.
        strength: Of the edit that is measured; None for first order alone.
        steps: Solver steps each way.
        reference: The images that the mean change is taken over.
        climbed: Ids of the images on which strengths are followed from the least that is seen to the end.
        known: Pairs (direction id, image id) that were scored before.
    """

    run_id: str
    directions: tuple[Direction, ...]
    rois: tuple[str, ...]
    strength: float | None
    steps: int
    reference: tuple[ImageRecord, ...]
    climbed: frozenset[str]
    known: frozenset[tuple[str, str]] = frozenset()


@dataclass
class ScoreOutcome:
    """What became of one image: its scores, what failed with its cause, what region it lacks; time, halvings
    and evaluations."""

    image: str
    scores: list[Score] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    halved: int = 0
    evaluations: int = 0

    @property
    def status(self) -> str:
        """`failed`; `done` with new scores; `absent` where no region of those left is there; else `skipped`."""
        if self.failures:
            return "failed"
        return "done" if self.scores else "absent" if self.absent else "skipped"


def score_chunk(chunk: ScoreChunk) -> list[ScoreOutcome]:
    """Score the directions on the images of one chunk; an image that fails costs none of the others.

    Images not reached when it was told to stop have no outcome.
    """
    outcomes = [ScoreOutcome(image.name) for image in chunk.images]
    pending: list[_Pending] = []
    for image, outcome in zip(chunk.images, outcomes, strict=True):
        todo = [k for k, one in enumerate(chunk.directions) if (one.id, image.id) not in chunk.known]
        look = opener(chunk, image)
        found = regions_of(chunk, image, todo, look)
        outcome.absent, outcome.failures = found.absent, found.failures
        if not found.there:
            continue
        try:
            pending.append((look(), found.there, outcome))
        except LocoError as error:
            outcome.failures.append(("", str(error)))
    late = set[str]()
    cache, references = Cache(Home(chunk.home)), list[Reference]()
    for start in range(0, len(pending), BATCH):
        if chunk.told_to_stop():
            late = {outcome.image for _, _, outcome in pending[start:]}
            break
        _measure(chunk, pending[start : start + BATCH], cache, references)
    return [one for one in outcomes if one.image not in late]


_Pending = tuple[Picture, dict[int, Roi], ScoreOutcome]
"""An image, its regions by the directions' places, and what becomes of it."""


def _measure(chunk: ScoreChunk, part: list[_Pending], cache: Cache, references: list[Reference]) -> None:
    """Measure some images together, while an accelerator is held; `references` is empty until it is measured."""
    import torch

    from flows.device.inversions import inverted
    from flows.device.models import open_model
    from flows.device.steady import SteadyDenoiser
    from loco.diffusion.guidance import under
    from loco.inversion import Grid, InversionPath

    t, shape = chunk.directions[0].t, chunk.model.shape
    registry = Registry(Home(chunk.home), chunk.registry_url)
    with slots.held(slots.settled()) as slot:
        opened = open_model(chunk.model, "float32", slot.device)
        started = time.monotonic()
        words = registry.basis(chunk.directions[0].basis_id).recipe
        denoiser = SteadyDenoiser(under(opened, words), f"{chunk.model.id} {slot.device}")
        vectors = torch.from_numpy(registry.vectors(chunk.directions)).to(slot.device)
        grid = Grid(t, chunk.steps)
        spent: list[int] = []

        def invert(x0: torch.Tensor, ids: Sequence[str]) -> InversionPath:
            keys = [grid.key(chunk.model.id, chunk.model.train_steps, one, words) for one in ids]
            return inverted(denoiser, x0.to(slot.device), grid, keys, cache, spent.append)

        if not references:
            references.append(reference_of(chunk, denoiser, vectors, invert, cache, spent.append))
        x0 = torch.stack([torch.from_numpy(to_model(one.pixels, shape[1:])) for one, _, _ in part])
        path = invert(x0, [one.id for one, _, _ in part])
        held = {row: held_responses(chunk, one.id, cache) for row, (one, _, _) in enumerate(part)}
        known = {row: torch.from_numpy(one).to(vectors) for row, one in held.items() if one is not None}
        for row, k, found in _figures(
            chunk, denoiser, path, vectors, part, references[0], known, spent.append
        ):
            picture, _, outcome = part[row]
            told = found | {"steps": float(chunk.steps), "reference": number_of(chunk.reference)}
            score = Score(chunk.run_id, chunk.directions[k].id, picture.id, chunk.strength or 0.0, told)
            outcome.scores.append(score)
        for _, _, outcome in part:
            outcome.seconds += (time.monotonic() - started) / len(part)
        part[0][2].halved += denoiser.halved
        part[0][2].evaluations += sum(spent)


def _figures(
    chunk: ScoreChunk,
    denoiser: "Denoiser",
    path: "InversionPath",
    vectors: "Tensor",
    part: list[_Pending],
    reference: Reference,
    known: "dict[int, Tensor]",
    progress: Callable[[int], None],
) -> Iterator[tuple[int, int, dict[str, float]]]:
    """The figures of each pair of an image's and a direction's place; some directions at a time.

    `known` has the responses of images, by their places, that were measured before.
    """
    import torch

    from loco.edit import change
    from loco.inversion import joined
    from loco.measure.strength import curve
    from loco.measure.transfer import alike, figures, mask_of, responses, unit_change

    for start in range(0, len(vectors), DIRECTIONS):
        some = vectors[start : start + DIRECTIONS]
        fresh = [row for row in range(len(part)) if row not in known]
        found_now = (
            responses(denoiser, joined([path[row : row + 1] for row in fresh]), some, progress)
            if fresh
            else ()
        )
        now = dict(zip(fresh, found_now, strict=True))
        felt = torch.stack(
            [now[row] if row in now else known[row][start : start + DIRECTIONS] for row in range(len(part))]
        )
        pairs = [
            (row, k)
            for k in range(len(some))
            for row, (_, regions, _) in enumerate(part)
            if start + k in regions
        ]
        masks = {(row, k): mask_of(part[row][1][start + k], felt[row, k]) for row, k in pairs}
        climbed = {place: mask for place, mask in masks.items() if part[place[0]][0].id in chunk.climbed}
        curves = {} if chunk.strength is not None else curve(denoiser, path, some, felt, climbed, progress)
        edited: dict[int, Tensor] = {}
        for row, k in pairs:
            if chunk.strength is not None and k not in edited:
                edited = {k: change(denoiser, path, chunk.strength * some[k], progress)}
            picture, regions, _ = part[row]
            response, mask = felt[row, k], masks[row, k]
            whole = edited[k][row] if k in edited else None
            found = figures(response, whole, regions[start + k], chunk.strength or 1.0)
            others = reference.others(start + k, picture.id, unit_change(response, mask))
            likeness = alike(response, mask, others)
            if likeness is not None:
                found["alike"] = likeness
            yield row, start + k, found | curves.get((row, k), {})
