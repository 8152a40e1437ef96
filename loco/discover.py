"""Discovery on one image: unsupervised LOCO Edit (arXiv 2409.02374, Algorithm 1, steps 2 to 6).

With J the Jacobian of the posterior mean at x_t and M the rows of a region,

    V_roi  = top-r right singular vectors of M J            (step 2)
    V_rest = top-r' right singular vectors of (I - M) J     (step 3)
    v_p    = (I - V_rest' V_rest) v for v in V_roi          (step 5)
    v      = v_p / ||v_p||                                  (step 6)

All regions and complements come from one shared Krylov space (`loco.linalg.krylov`). What is left after the projection
is measured, not assumed: a direction with nothing left is refused rather than normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.direction import Basis, Direction, Refusal, RoiMask, basis_id, direction_id
from loco.errors import DirectionError, RoiError
from loco.ids import bytes_id
from loco.inversion import InversionPath
from loco.linalg.jacobian import CHUNK, JacobianOperator, chunk_for
from loco.linalg.krylov import Rows, Solution, Triplets, row_svds
from loco.linalg.power import power_svds
from loco.linalg.projection import grams
from loco.linalg.stacked import Stacked, stacked
from loco.linearity import linear_range
from loco.points import needs_inversion, points
from loco.precision import rounding
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.rois.rows import rows_of
from loco.room import is_small
from loco.shaping import leakage_of, nothing_left, shaped
from loco.tloco import pulled_back


def discover(
    denoiser: Denoiser,
    x_t: Tensor | InversionPath,
    rois: Sequence[Roi],
    recipe: DiscoverRecipe,
    *,
    model: str | None = None,
    image_id: str | None = None,
    image_name: str = "",
    edited: Denoiser | None = None,
    start: Tensor | None = None,
    max_memory: int | None = None,
) -> Basis:
    """The directions of every region of one image, with their evidence.

    Args:
        denoiser: The model.
        x_t: The path of one image that ends at noise level `recipe.t`, from which the recipe's points follow; or the
            points themselves: one [C, H, W], or `recipe.draws` of them [K, C, H, W] (`loco.points`).
        rois: Regions at the size of the model's images, (H, W), with names that differ.
        recipe: Ranks, tolerance, seed, solver and method.
        model: Weights hash of the model; None for the opened model's own.
        image_id: sha256 of the image file's bytes; None for that of x_t, where there is no file.
        image_name: The image's name, for people.
        edited: The posterior mean of an edit told in words; the directions are then those of `loco.tloco`.
        start: Right singular vectors [k, D] of a kindred problem (another t, another seed, a neighbour in the
            catalogue) to start the solver from; a warm start changes the result within the tolerance only.
        max_memory: Bytes that the network's graph may take; None for what the machine can spare.

    Returns a `Basis`; directions that vanish in the projection are listed in its `refused`.
    A region of all pixels has no rest: nothing is projected away. `leakage` and `retained` are None for a region of
    more than `loco.direction.WIDE` of the pixels.
    Raises `ValueError` when a mask is not of the model's size, `RoiError` when one has no pixel, `DirectionError`
    when the network's answers are not finite numbers or do not fit into memory.
    """
    image_id = _content(x_t) if image_id is None else image_id
    at = _points(denoiser, x_t, recipe, image_id)
    model = _weights(denoiser) if model is None else model
    _check_masks(denoiser, rois, image_name or image_id)
    try:
        found = _measured(denoiser, edited, at, rois, recipe, start, max_memory)
    except FloatingPointError as error:
        raise DirectionError(
            f"the model's answer for {image_name or image_id} at t = {recipe.t:g} is not finite ({error}); "
            f"look at the image, or try another t or dtype"
        ) from error
    except MemoryError as error:
        raise DirectionError(
            f"{image_name or image_id} does not fit into memory ({error}); "
            f"free some, or use a smaller model or another device"
        ) from error
    directions, kept, refused = _judged(denoiser, found, rois, recipe, model, image_id)
    return Basis(
        id=basis_id(model, image_id, recipe, tuple(roi.id for roi in rois)),
        model=model,
        image_id=image_id,
        image_name=image_name,
        recipe=recipe,
        rois=tuple(RoiMask(roi.id, roi.name, roi.source, roi.mask) for roi in rois),
        directions=tuple(directions),
        vectors=found.stacked[kept].reshape(-1, *denoiser.shape).cpu().numpy().astype(np.float32),
        refused=tuple(refused),
        products=found.products,
        evaluations=found.evaluations,
        arrays=_raw(denoiser, found),
    )


def _raw(denoiser: Denoiser, found: "_Measured") -> dict[str, NDArray[Any]]:
    """The singular vectors before the projection, in half precision, with their values: see `Basis.arrays`."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, (inside, rest) in enumerate(zip(found.inside, found.outside, strict=True)):
        for name, values, one in (("right", "values", inside), ("rest", "rest_values", rest)):
            vectors = one.right.reshape(-1, *denoiser.shape).cpu().numpy()
            arrays[f"{name}.{number}"] = vectors.astype(np.float16)
            arrays[f"{values}.{number}"] = one.values.cpu().numpy().astype(np.float32)
    return arrays


@dataclass(frozen=True)
class _Measured:
    """What the solver found in every region, and what was measured of it.

    Attributes:
        masks: Each region's rows of J, those of one point after the other, [M] bool.
        inside, outside: The triplets of each region, and of each rest.
        retained: What the projection left of each region's directions, [k].
        stacked: All regions' directions, [n, D].
        responses: J v of each, [n, M].
        ranges: The linear range of each, or None.
        told: Whether the directions are those of an edit told in words.
        certain: Whether the residuals are the solver's word on J itself.
        products, evaluations: What was spent, the inversion included.
    """

    masks: Sequence[Tensor]
    inside: Sequence[Triplets]
    outside: Sequence[Triplets]
    retained: Sequence[Tensor]
    stacked: Tensor
    responses: Tensor
    ranges: Sequence[float | None]
    told: bool
    certain: bool
    products: int
    evaluations: int


def _check_masks(denoiser: Denoiser, rois: Sequence[Roi], image: str) -> None:
    size = codec_of(denoiser).image_shape[1:]
    for roi in rois:
        if roi.mask.shape != size:
            raise ValueError(f"mask of {roi.name} is {roi.mask.shape}, the model works at {size}")
        if not roi.mask.any():
            raise RoiError(
                f"ROI {roi.name} of {image} has no pixel at the model's size "
                f"{size[0]} x {size[1]}; give another mask"
            )


def _measured(
    denoiser: Denoiser,
    edited: Denoiser | None,
    at: Tensor,
    rois: Sequence[Roi],
    recipe: DiscoverRecipe,
    start: Tensor | None,
    max_memory: int | None,
) -> _Measured:
    """Solve at the points [K, C, H, W] for every region and every rest, project, and measure what is left."""
    decoded, told = recipe.rows == "pixels", edited is not None
    f = seen(denoiser, recipe.t, decoded=decoded)
    forward: Any = recipe.forward
    graphs, half = len(at) * (2 if told else 1), rounding(denoiser)
    # A small network is not measured, and an evaluation for measuring another is counted, so that counts are exact.
    known = max_memory is None and is_small(denoiser, at[0])
    chunk = CHUNK if known else chunk_for(f, at[0], max_memory, points=graphs)
    operator = stacked([JacobianOperator(f, x, forward=forward, chunk=chunk, rounding=half) for x in at])
    shape = codec_of(denoiser).image_shape if decoded else denoiser.shape
    masks = [rows_of(roi, shape, at.device).repeat(len(at)) for roi in rois]
    solution = _solve(operator, masks, recipe, start, (len(at) * shape[0], *shape[1:]), told=told)
    rest = solution.triplets[-len(rois) :] if rois else ()
    if edited is not None:
        f_edited = seen(edited, recipe.t, decoded=decoded)
        towards = stacked([JacobianOperator(f_edited, x, chunk=chunk, rounding=half) for x in at])
        with torch.no_grad():
            wanted = torch.cat([(f_edited(x[None]) - f(x[None])).flatten() for x in at]) / len(at) ** 0.5
        found: Sequence[Triplets] = pulled_back(wanted, towards, masks)
        spent = towards.products, towards.evaluations
    else:
        found, spent = solution.triplets[: len(rois)], (0, 0)
    space = solution.space
    kept = [
        shaped(recipe, one, other, space.basis, partial(grams, space.images, mask), told=told)
        for mask, one, other in zip(masks, found, rest, strict=True)
    ]
    block = torch.cat([part for part, _ in kept]) if kept else at.new_zeros((0, operator.size))
    # Projections of singular vectors stay in the space, where J is known; a gradient of words does not.
    responses = operator.mv(block) if told else space.image(block)
    products, evaluations = operator.products + spent[0], operator.evaluations + spent[1] + (not known)
    ranges: list[float | None] = [None] * len(block)
    if recipe.ranged:
        first = responses[:, : responses.shape[1] // len(at)] * len(at) ** 0.5
        measured, tried = linear_range(f, at[0], block, first, 2 * operator.chunk)
        ranges = [None if one is None else float(f"{one:.4g}") for one in measured]
        evaluations += tried
    if needs_inversion(recipe):
        evaluations += len(list(pairwise(denoiser.schedule.grid(recipe.t, recipe.steps))))
    return _Measured(
        masks=masks,
        inside=found,
        outside=rest,
        retained=[lengths for _, lengths in kept],
        stacked=block,
        responses=responses,
        ranges=ranges,
        told=told,
        certain=operator.adjoint != "symmetric",
        products=products,
        evaluations=evaluations,
    )


def _judged(
    denoiser: Denoiser,
    found: _Measured,
    rois: Sequence[Roi],
    recipe: DiscoverRecipe,
    model: str,
    image_id: str,
) -> tuple[list[Direction], list[int], list[Refusal]]:
    """The directions that are kept with their evidence, their rows in `found.stacked`, and what is refused and why."""
    directions: list[Direction] = []
    kept: list[int] = []
    refused: list[Refusal] = []
    name_basis = basis_id(model, image_id, recipe, tuple(roi.id for roi in rois))
    share, row = max(1, len(found.stacked)), 0
    for roi, mask, inside, outside, retained in zip(
        rois, found.masks, found.inside, found.outside, found.retained, strict=True
    ):
        if not len(retained):
            refused.append(
                Refusal(roi.name, 0, "the region does not respond: its Jacobian vanishes at this t")
            )
        rows = int(mask.sum()) // recipe.draws
        if not found.told and recipe.rank > rows:
            refused.append(
                Refusal(roi.name, rows, f"rank {recipe.rank} is asked for, the region has {rows} values")
            )
        for k in range(len(retained)):
            response, reach, here = found.responses[row], found.ranges[row], row
            row += 1
            if float(retained[k]) < recipe.min_retained:
                refused.append(Refusal(roi.name, k, nothing_left(float(retained[k]), recipe)))
                continue
            directions.append(
                Direction(
                    id=direction_id(model, image_id, recipe, roi.id, k),
                    basis_id=name_basis,
                    row=len(kept),
                    index=k,
                    model=model,
                    image_id=image_id,
                    roi=roi.name,
                    roi_id=roi.id,
                    roi_area=roi.area,
                    t=recipe.t,
                    step=denoiser.schedule.step(recipe.t),
                    shape=denoiser.shape,
                    singular_value=float(inside.values[k]),
                    residual=float(inside.residuals[k]),
                    converged=found.certain and inside.converged and outside.converged,
                    gain=float(response[mask].norm()),
                    leakage=leakage_of(response, mask),
                    retained=float(retained[k]),
                    method="told" if found.told else recipe.method,
                    linear_range=reach,
                    products=found.products // share,
                    evaluations=found.evaluations // share,
                    prompt=recipe.prompt,
                    edit_prompt=recipe.edit_prompt,
                    alpha_bar=denoiser.schedule.at(recipe.t),
                    point=recipe.point,
                )
            )
            kept.append(here)
    return directions, kept, refused


def _content(x_t: Tensor | InversionPath) -> str:
    """An image id for what has no file: the sha256 of x_t."""
    end = x_t if isinstance(x_t, Tensor) else x_t.x_t[0]
    return bytes_id(end.detach().cpu().contiguous().numpy().tobytes())


def _points(denoiser: Denoiser, x_t: Tensor | InversionPath, recipe: DiscoverRecipe, image_id: str) -> Tensor:
    """The points [K, C, H, W]; raises `ValueError` for a path of several images, of another level, for other points."""
    if isinstance(x_t, Tensor):
        at = x_t[None] if x_t.ndim == 3 else x_t
        if len(at) != recipe.draws:
            raise ValueError(f"expected the recipe's {recipe.draws} points, found {len(at)}")
        return at
    if len(x_t) != 1 or x_t.t != recipe.t:
        raise ValueError(
            f"expected the path of one image to t = {recipe.t:g}, found {len(x_t)} to t = {x_t.t:g}; "
            f"path[k : k + 1] is that of image k"
        )
    return points(denoiser.schedule, x_t.points[:, 0], recipe, (image_id,), x_t.x_t)[0].clone()


def _weights(denoiser: Denoiser) -> str:
    """The weights' hash of an opened model, also of one that is told something."""
    inner: Any = denoiser
    for name in ("original", "conditioned", "denoiser"):
        inner = getattr(inner, name, inner)
    card = getattr(inner, "card", None)
    if card is None:
        raise ValueError(f"the weights' hash of {denoiser.name!r} is not known; pass it as model=")
    return str(card.id)


def _solve(
    operator: JacobianOperator | Stacked,
    masks: Sequence[Tensor],
    recipe: DiscoverRecipe,
    start: Tensor | None,
    grid: Sequence[int],
    *,
    told: bool,
) -> Solution:
    """The triplets of every region (unless the direction is told in words), then of every rest."""
    inside = [] if told else [Rows(mask, min(recipe.rank, int(mask.sum()))) for mask in masks]
    outside = [Rows(~mask, min(recipe.null_rank, int((~mask).sum()))) for mask in masks]
    if recipe.solver == "power":
        return power_svds(
            operator, inside + outside, tol=recipe.tol, max_rounds=recipe.max_rounds, seed=recipe.seed
        )
    return row_svds(
        operator,
        inside + outside,
        tol=recipe.tol,
        max_rounds=recipe.max_rounds,
        seed=recipe.seed,
        start=start,
        grid=grid,
    )
