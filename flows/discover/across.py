"""Discovery across a dataset on one chunk of images, in whichever process: what each adds to the sums of its pass.

The passes are: the start (regions are resolved, the space begun), rounds of products, and the answers to the directions
found. An image's part is the same bits in whatever chunk it comes (`loco.across`); sums go to a file beside the run's
state, and ids, counts and a few figures an image come back.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.device import slots
from flows.discover.image import BATCH, GROUP, DiscoverChunk, Item, points_of, regions_of, too_little
from flows.discover.rounds import asked_about, put_sums
from loco.errors import LocoError
from loco.folders import open_image
from loco.ids import content_id
from registry.files.cache import Cache
from registry.home import Home

if TYPE_CHECKING:
    from torch import Tensor

    from loco.across import Jacobian
    from loco.diffusion.denoiser import Denoiser

logger = logging.getLogger("loco.run")

_CHUNK: dict[str, int] = {}
"""Model id -> vectors that this process may differentiate at once, once memory ran out."""


@dataclass(frozen=True)
class Member:
    """What the run knows of an image: its weight in each region, its half, and whether linear ranges are measured."""

    weights: tuple[float, ...]
    half: int
    ranged: bool = False


@dataclass(frozen=True, kw_only=True)
class AcrossChunk(DiscoverChunk):
    """Some images, and what they are asked.

    Attributes:
        run_id: The run, beside whose journal sums lie.
        phase, number: The pass: `start`, `round` of that number, `answers`, or `known`.
        members: Image id -> what the run knows of it, after the start.
        regions: The region of each direction, for the answers.
        scorer, prompts: What the recipe's `toward` is a number of.
    """

    run_id: str
    phase: str
    number: int = 0
    members: Mapping[str, Member] = field(default_factory=dict)
    regions: tuple[int, ...] = ()
    scorer: str = ""
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AcrossOutcome:
    """What became of one image in a pass.

    Attributes:
        image, id: Its name and the sha256 of its bytes.
        status: `done`, `skipped`, `absent` or `failed` (with nothing of it used), as in `ImageOutcome`.
        failures, absent, notes: As there; an image may be used for one region and have failed in another.
        answers, rois, areas, sources: Of each region, from the start.
        gains, leakages, ranges: Of each direction, from the answers.
        products, evaluations, seconds, halved: Spent now; evaluations without those of its inversion.
        inversion: What its inversion takes; and
        inverted: whether that was spent now, because its points were not kept.
        certain: Whether J' was a derivative.
        step, alpha_bar: Of the noise level.
        device: Where it was done.
        shape: Of what the model diffuses, [C, H, W]: of a latent model, latents.
    """

    image: str
    id: str
    status: str
    failures: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    answers: tuple[float, ...] = ()
    rois: tuple[str, ...] = ()
    areas: tuple[float, ...] = ()
    sources: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()
    leakages: tuple[float, ...] = ()
    ranges: tuple[float | None, ...] = ()
    products: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    halved: int = 0
    inversion: int = 0
    inverted: bool = False
    certain: bool = True
    step: int = 0
    alpha_bar: float = 0.0
    device: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class AcrossResult:
    """What came of a chunk: its images, and the file with what they add up to, if they add up to something."""

    outcomes: tuple[AcrossOutcome, ...]
    sums: str | None = None


def across_chunk(chunk: AcrossChunk) -> AcrossResult:
    """The images' part of a pass, in order; those not reached when it was told to stop have no outcome."""
    outcomes: list[AcrossOutcome] = []
    sums: dict[str, NDArray[Any]] = {}
    used: list[str] = []
    first: dict[str, str] = {}
    failed = 0
    for start in range(0, len(chunk.images), GROUP):
        items = []
        for record in chunk.images[start : start + GROUP]:
            if record.id in first:
                note = f"the same image as {first[record.id]}"
                outcomes.append(AcrossOutcome(record.name, record.id, "skipped", notes=(note,)))
                continue
            item = regions_of(chunk, record)
            if not item.rois:
                outcomes.append(_outcome(item, "failed" if item.failures else "absent"))
                failed += bool(item.failures)
                continue
            first[record.id] = record.name
            if chunk.phase == "known":
                outcomes.append(_outcome(item, "skipped"))
            else:
                items.append(item)
        for at in range(0, len(items), BATCH):
            if chunk.told_to_stop() or (chunk.allowed is not None and failed > chunk.allowed):
                return _result(chunk, outcomes, sums, used)
            for outcome in _batch(chunk, items[at : at + BATCH], sums):
                outcomes.append(outcome)
                failed += outcome.status == "failed"
                if outcome.status == "done":
                    used.append(outcome.id)
                for roi, cause in outcome.failures:
                    logger.warning("%s%s: %s", outcome.image, f" ({roi})" if roi else "", cause)
    return _result(chunk, outcomes, sums, used)


def _result(
    chunk: AcrossChunk,
    outcomes: Sequence[AcrossOutcome],
    sums: dict[str, NDArray[Any]],
    used: Sequence[str],
) -> AcrossResult:
    if not sums:
        return AcrossResult(tuple(outcomes))
    made_of = [chunk.phase, chunk.number, list(used)]
    return AcrossResult(tuple(outcomes), put_sums(Home(chunk.home), chunk.run_id, made_of, sums))


def _outcome(item: Item, status: str, **more: Any) -> AcrossOutcome:
    return AcrossOutcome(
        item.record.name,
        item.record.id,
        status,
        tuple(item.failures),
        tuple(item.absent),
        tuple(item.notes),
        **{"halved": item.halved} | more,
    )


def _batch(chunk: AcrossChunk, items: Sequence[Item], sums: dict[str, NDArray[Any]]) -> list[AcrossOutcome]:
    """The part of some images, while an accelerator is held; added to `sums`."""
    from flows.device.models import open_model
    from loco.diffusion.guidance import under

    outcomes = []
    with slots.held(slots.settled()) as slot:
        denoiser = under(open_model(chunk.model, chunk.recipe.dtype, slot.device), chunk.recipe)
        for item, at, share in _points(denoiser, items, chunk, slot.device):
            started = time.monotonic()
            try:
                if isinstance(at, LocoError):
                    raise at
                part, more = _part(chunk, denoiser, item, at)
            except LocoError as error:
                item.failures.append(("", str(error)))
            except FloatingPointError as error:
                item.failures.append(
                    ("", f"the model's answer at t = {chunk.recipe.t:g} is not finite ({error})")
                )
            except MemoryError as error:
                item.failures.append(("", f"it does not fit into memory ({error})"))
            else:
                for name, array in part.items():
                    sums[name] = sums[name] + array if name in sums else array
                seconds = time.monotonic() - started + share
                more |= {"inversion": _inversion(denoiser, chunk), "inverted": share > 0}
                outcomes.append(_outcome(item, "done", seconds=seconds, device=slot.device, **more))
                continue
            outcomes.append(_outcome(item, "failed"))
    return outcomes


def _points(
    denoiser: "Denoiser", items: Sequence[Item], chunk: AcrossChunk, device: str
) -> "list[tuple[Item, Tensor | LocoError, float]]":
    """The points [K, C, H, W] of each image, kept or made now, and the seconds that took; or why there are none."""
    import torch

    from loco.precision import algebra

    cache = Cache(Home(chunk.home))
    found: dict[str, tuple[Tensor | LocoError, float]] = {}
    fresh = []
    for item in items:
        array = cache.get(_key(chunk, item))
        if array is not None and array.shape == (chunk.recipe.draws, *denoiser.shape):
            found[item.record.id] = (
                torch.from_numpy(array).to(device, algebra(chunk.recipe.dtype)),
                0.0,
            )
            continue
        try:
            item.picture = open_image(chunk.root, item.record.name, item.record.id)
        except LocoError as error:
            found[item.record.id] = error, 0.0
            continue
        fresh.append(item)
    started = time.monotonic()
    made = points_of(denoiser, fresh, chunk, device, cache) if fresh else []
    share = (time.monotonic() - started) / max(1, len(fresh))
    for item, at in zip(fresh, made, strict=True):
        item.picture = None
        if at is not None:
            cache.put(_key(chunk, item), at.cpu().numpy())
        found[item.record.id] = too_little(chunk, item) if at is None else at, share
    return [(item, *found[item.record.id]) for item in items]


def _key(chunk: AcrossChunk, item: Item) -> str:
    from loco.inversion import Grid

    recipe, model = chunk.recipe, chunk.model
    path = Grid.of(recipe).key(model.id, model.train_steps, item.record.id, recipe)
    return content_id("points", [path, recipe.t, recipe.point, recipe.draws])


def _inversion(denoiser: "Denoiser", chunk: AcrossChunk) -> int:
    """Evaluations of an image's inversion."""
    from loco.points import needs_inversion

    recipe = chunk.recipe
    return len(denoiser.schedule.grid(recipe.t, recipe.steps)) - 1 if needs_inversion(recipe) else 0


def _part(
    chunk: AcrossChunk, denoiser: "Denoiser", item: Item, at: "Tensor"
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What one image adds to the sums, and what is told of it."""
    import torch

    from loco.across import answer, begun
    from loco.diffusion.codec import codec_of, seen
    from loco.linalg.jacobian import CHUNK, JacobianOperator, chunk_for
    from loco.linalg.pooled import parts
    from loco.linalg.stacked import stacked
    from loco.precision import rounding
    from loco.rois.rows import rows_of
    from loco.room import is_small

    recipe, draws = chunk.recipe, len(at)
    decoded = recipe.rows == "pixels"
    f = seen(denoiser, recipe.t, decoded=decoded)
    limit = None if chunk.max_memory is None else int(chunk.max_memory * 2**30)
    small = CHUNK if limit is None and is_small(denoiser, at[0]) else None
    size = (
        _CHUNK.get(chunk.model.id)
        or small
        or chunk_for(f, at[0], limit, of=denoiser, rows=recipe.rows, points=draws)
    )
    forward: Any = recipe.forward
    own = [JacobianOperator(f, x, forward=forward, chunk=size, rounding=rounding(denoiser)) for x in at]
    operator: Jacobian = stacked(own)
    shape = codec_of(denoiser).image_shape if decoded else denoiser.shape
    by_name = {roi.name: roi for roi in item.rois}
    names = [text.partition("=")[0] for text in chunk.rois]
    rois = [by_name.get(name) for name in names]
    masks = [None if roi is None else rows_of(roi, shape, at.device).repeat(draws) for roi in rois]
    sums: dict[str, NDArray[Any]] = {}
    more: dict[str, Any] = {}
    spent = 0
    if chunk.phase == "start":
        grid = (draws * shape[0], *shape[1:])
        start, strengths = begun(operator, masks, recipe.seed, item.record.id, grid)
        plain = [
            np.zeros(chunk.model.shape[1:], np.int64) if roi is None else roi.mask.astype(np.int64)
            for roi in rois
        ]
        sums = {"start": start.numpy(), "masks": np.stack(plain)}
        if recipe.toward:
            sums |= _pulls(chunk, operator, f, at, masks, item.record.id)
        more = {
            "answers": strengths,
            "rois": tuple("" if roi is None else roi.id for roi in rois),
            "areas": tuple(0.0 if roi is None else roi.area for roi in rois),
            "sources": tuple("" if roi is None else roi.source for roi in rois),
        }
    else:
        block = torch.from_numpy(asked_about(Home(chunk.home), chunk.run_id)).to(at)
        member = chunk.members[item.record.id]
        if chunk.phase == "round":
            part = parts(operator, masks, block, member.weights)
            products = part.new_zeros((2, *part.shape))
            products[member.half] = part
            sums = {"products": products.numpy()}
        else:
            with torch.no_grad():
                told = answer(operator, masks, block, chunk.regions, (f, at[0]) if member.ranged else None)
            more = {"gains": told.gains, "leakages": told.leakages, "ranges": told.ranges}
            spent = told.evaluations
    if any(one.halvings for one in own):
        _CHUNK[chunk.model.id] = min(one.chunk for one in own)
    return sums, more | {
        "products": operator.products,
        "evaluations": operator.evaluations + spent,
        "certain": operator.adjoint != "symmetric",
        "halved": item.halved + sum(one.halvings for one in own),
        "step": denoiser.schedule.step(recipe.t),
        "alpha_bar": denoiser.schedule.at(recipe.t),
        "shape": denoiser.shape,
    }


def _pulls(
    chunk: AcrossChunk,
    operator: "Jacobian",
    f: "Callable[[Tensor], Tensor]",
    at: "Tensor",
    masks: "Sequence[Tensor | None]",
    image_id: str,
) -> dict[str, NDArray[Any]]:
    """What an image adds to the means that lead toward a number: pulls in its half, how many, and their lengths."""
    import torch

    from flows.device.scorers import score_of
    from loco.linalg.pooled import counted
    from loco.toward import pulled_towards

    score = score_of(chunk.scorer, chunk.prompts, chunk.recipe.toward, str(at.device))
    pulls, lengths = pulled_towards(operator, f, at, masks, score)
    half = int(image_id[-1], 16) % 2
    several, numbers = torch.zeros((2, *pulls.shape)), torch.zeros((2, len(pulls)), dtype=torch.int64)
    several[half], numbers[half] = pulls.cpu(), (lengths > 0).cpu().long()
    return {
        "pulls": counted(several).numpy(),
        "pull_counts": numbers.numpy(),
        "pull_lengths": counted(lengths).numpy(),
    }
