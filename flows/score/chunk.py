"""Scores on one chunk of images, in whichever process: measures, touches no row, returns figures."""

import functools
import time
from dataclasses import dataclass, field

from flows.device import slots
from flows.engine.dataset import DatasetChunk
from loco.direction import Direction
from loco.errors import LocoError, RoiAbsent
from loco.folders import Folders, open_image
from loco.images import Picture, to_model
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi
from registry.files.cache import Cache
from registry.home import Home
from registry.records import Score
from registry.registry import Registry

BATCH = 8
"""Images inverted and edited together."""

_CENTRAL = 2
"""Evaluations of a response."""


@dataclass(frozen=True, kw_only=True)
class ScoreChunk(DatasetChunk):
    """Some images, and what is to be scored on them.

    Attributes:
        run_id: The run.
        directions: What to score, all of the chunk's model.
        rois: The region of each, as on the command line.
        strength, steps: Of the edit that is measured.
        known: Pairs (direction id, image id) that were scored before.
    """

    run_id: str
    directions: tuple[Direction, ...]
    rois: tuple[str, ...]
    strength: float
    steps: int
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
    folders = Folders(chunk.root, chunk.masks)
    pending: list[tuple[Picture, dict[int, Roi], ScoreOutcome]] = []
    for image, outcome in zip(chunk.images, outcomes, strict=True):
        todo = [k for k, one in enumerate(chunk.directions) if (one.id, image.id) not in chunk.known]
        regions: dict[int, Roi] = {}
        look = functools.cache(functools.partial(open_image, chunk.root, image.name, image.id))
        for k in todo:
            try:
                spec = RoiSpec.parse(chunk.rois[k])
                roi = resolve_roi(spec, folders, image, Home(chunk.home).masks, look)
                regions[k] = roi.fit(chunk.model.shape[1:])
            except RoiAbsent as error:
                if (chunk.directions[k].roi, str(error)) not in outcome.absent:
                    outcome.absent.append((chunk.directions[k].roi, str(error)))
            except LocoError as error:
                outcome.failures.append((chunk.directions[k].roi, str(error)))
        if not regions:
            continue
        try:
            pending.append((look(), regions, outcome))
        except LocoError as error:
            outcome.failures.append(("", str(error)))
    late = set[str]()
    cache = Cache(Home(chunk.home))
    for start in range(0, len(pending), BATCH):
        if chunk.told_to_stop():
            late = {outcome.image for _, _, outcome in pending[start:]}
            break
        _measure(chunk, pending[start : start + BATCH], cache)
    return [one for one in outcomes if one.image not in late]


def _measure(
    chunk: ScoreChunk, part: list[tuple[Picture, dict[int, Roi], ScoreOutcome]], cache: Cache
) -> None:
    """Measure some images together, while an accelerator is held."""
    import torch

    from flows.device.inversions import inverted
    from flows.device.models import open_model
    from flows.device.steady import SteadyDenoiser
    from loco.diffusion.guidance import under
    from loco.edit import change
    from loco.inversion import Grid
    from loco.measure.transfer import figures, responses

    t, shape = chunk.directions[0].t, chunk.model.shape
    registry = Registry(Home(chunk.home), chunk.registry_url)
    with slots.held(slots.settled()) as slot:
        opened = open_model(chunk.model, "float32", slot.device)
        started = time.monotonic()
        words = registry.basis(chunk.directions[0].basis_id).recipe
        denoiser = SteadyDenoiser(under(opened, words), f"{chunk.model.id} {slot.device}", least=1)
        vectors = torch.from_numpy(registry.vectors(chunk.directions)).to(slot.device)
        x0 = torch.stack([torch.from_numpy(to_model(one.pixels, shape[1:])) for one, _, _ in part])
        grid = Grid(t, chunk.steps)
        keys = [grid.key(chunk.model.id, chunk.model.train_steps, one.id, words) for one, _, _ in part]
        spent: list[int] = []
        path = inverted(denoiser, x0.to(slot.device), grid, keys, cache, spent.append)
        first_order = [responses(denoiser, x_t, t, vectors) for x_t in path.x_t]
        spent.append(_CENTRAL * len(part) * len(vectors))
        for k, direction in enumerate(chunk.directions):
            edited = change(denoiser, path, chunk.strength * vectors[k], spent.append)
            for row, (picture, regions, outcome) in enumerate(part):
                if k in regions:
                    found = figures(first_order[row][k], edited[row], regions[k], chunk.strength) | {
                        "steps": float(chunk.steps)
                    }
                    outcome.scores.append(
                        Score(chunk.run_id, direction.id, picture.id, chunk.strength, found)
                    )
        for _, _, outcome in part:
            outcome.seconds += (time.monotonic() - started) / len(part)
        part[0][2].halved += denoiser.halved
        part[0][2].evaluations += sum(spent)
