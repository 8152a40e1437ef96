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
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.direction import Basis, Direction, Refusal, RoiMask, basis_id, direction_id
from loco.errors import DirectionError, RoiError
from loco.ids import bytes_id
from loco.inversion import InversionPath
from loco.linalg.jacobian import JacobianOperator, chunk_for
from loco.linalg.krylov import Rows, Solution, Space, Triplets, row_svds
from loco.linalg.power import power_svds
from loco.linalg.projection import canonical_sign, constrained, project_out
from loco.linearity import linear_range
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
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
        x_t: The image at noise level `recipe.t`, [C, H, W], or the path of one image that ends there.
        rois: Regions at the size of the model's images, (H, W), with names that differ.
        recipe: Ranks, tolerance, seed, solver and method.
        model: Weights hash of the model; None for the opened model's own.
        image_id: sha256 of the image file's bytes; None for that of x_t, where there is no file.
        image_name: The image's name, for people.
        edited: The posterior mean of an edit told in words; the directions are then those of `loco.tloco`.
        start: Right singular vectors [k, D] of a kindred problem (another t, another seed, a neighbour in the
            catalogue) to start the solver from; a warm start changes the result within the tolerance only.
        max_memory: Bytes that the network's graph may take; None for a chunk that suits small models.

    Returns a `Basis`; directions that vanish in the projection are listed in its `refused`.
    A region of all pixels has no rest: nothing is projected away. `leakage` and `retained` are None for a region of
    more than `loco.direction.WIDE` of the pixels.
    Raises `ValueError` when a mask is not of the model's size, `RoiError` when one has no pixel, `DirectionError`
    when the network's answers are not finite numbers or do not fit into memory.
    """
    x_t = _end(x_t, recipe)
    model = _weights(denoiser) if model is None else model
    image_id = bytes_id(x_t.detach().cpu().contiguous().numpy().tobytes()) if image_id is None else image_id
    size = codec_of(denoiser).image_shape[1:]
    for roi in rois:
        if roi.mask.shape != size:
            raise ValueError(f"mask of {roi.name} is {roi.mask.shape}, the model works at {size}")
        if not roi.mask.any():
            raise RoiError(
                f"ROI {roi.name} of {image_name or image_id} has no pixel at the model's size "
                f"{size[0]} x {size[1]}; give another mask"
            )
    decoded = recipe.rows == "pixels"
    f = seen(denoiser, recipe.t, decoded=decoded)
    forward: Any = recipe.forward
    operator = JacobianOperator(f, x_t, forward=forward, chunk=chunk_for(f, x_t, max_memory))
    shape = codec_of(denoiser).image_shape if decoded else denoiser.shape
    masks = [_row_mask(roi.at(*shape[1:]), shape, x_t) for roi in rois]
    try:
        solution = _solve(operator, masks, recipe, start, shape, told=edited is not None)
        rest = solution.triplets[-len(rois) :] if rois else ()
        if edited is not None:
            towards = JacobianOperator(seen(edited, recipe.t, decoded=decoded), x_t, chunk=operator.chunk)
            found: Sequence[Triplets] = pulled_back(f, towards, x_t, masks)
            operator.products += towards.products
            operator.evaluations += towards.evaluations
        else:
            found = solution.triplets[: len(rois)]
        shaped = [
            _shape(recipe, solution.space, *one, told=edited is not None)
            for one in zip(masks, found, rest, strict=True)
        ]
        vectors = [block for block, _ in shaped]
        retained = [lengths for _, lengths in shaped]
        stacked = torch.cat(vectors) if vectors else x_t.new_zeros((0, operator.size))
        # Projections of singular vectors stay in the space, where J is known; a gradient of words does not.
        responses = operator.mv(stacked) if edited is not None else solution.space.image(stacked)
        ranges: list[float | None] = [None] * len(stacked)
        if recipe.ranged:
            measured, spent = linear_range(f, x_t, stacked, responses, 2 * operator.chunk)
            ranges = [None if one is None else float(f"{one:.4g}") for one in measured]
            operator.evaluations += spent
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

    name_basis = basis_id(model, image_id, recipe, tuple(roi.id for roi in rois))
    evaluations = operator.evaluations + len(list(pairwise(denoiser.schedule.grid(recipe.t, recipe.steps))))
    share = max(1, len(stacked))
    certain = operator.adjoint != "symmetric"
    directions: list[Direction] = []
    kept: list[int] = []
    refused: list[Refusal] = []
    row = 0
    for i, roi in enumerate(rois):
        if not len(vectors[i]):
            refused.append(
                Refusal(roi.name, 0, "the region does not respond: its Jacobian vanishes at this t")
            )
        rows = int(masks[i].sum())
        if edited is None and recipe.rank > rows:
            refused.append(
                Refusal(roi.name, rows, f"rank {recipe.rank} is asked for, the region has {rows} values")
            )
        for k in range(len(vectors[i])):
            response, reach, here = responses[row], ranges[row], row
            row += 1
            if float(retained[i][k]) < recipe.min_retained:
                refused.append(Refusal(roi.name, k, _nothing_left(float(retained[i][k]), recipe)))
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
                    singular_value=float(found[i].values[k]),
                    residual=float(found[i].residuals[k]),
                    converged=certain and found[i].converged and rest[i].converged,
                    gain=float(response[masks[i]].norm()),
                    leakage=_leakage(response, masks[i]),
                    retained=float(retained[i][k]),
                    method=recipe.method if edited is None else "told",
                    linear_range=reach,
                    products=operator.products // share,
                    evaluations=evaluations // share,
                    prompt=recipe.prompt,
                    edit_prompt=recipe.edit_prompt,
                )
            )
            kept.append(here)
    return Basis(
        id=name_basis,
        model=model,
        image_id=image_id,
        image_name=image_name,
        recipe=recipe,
        rois=tuple(RoiMask(roi.id, roi.name, roi.source, roi.mask) for roi in rois),
        directions=tuple(directions),
        vectors=stacked[kept].reshape(-1, *denoiser.shape).cpu().numpy().astype(np.float32),
        refused=tuple(refused),
        products=operator.products,
        evaluations=evaluations,
    )


def _end(x_t: Tensor | InversionPath, recipe: DiscoverRecipe) -> Tensor:
    """The point [C, H, W] that a path ends at; raises `ValueError` for several images, or another level."""
    if isinstance(x_t, Tensor):
        return x_t
    if len(x_t) != 1 or x_t.t != recipe.t:
        raise ValueError(
            f"expected the path of one image to t = {recipe.t:g}, found {len(x_t)} to t = {x_t.t:g}; "
            f"path[k : k + 1] is that of image k"
        )
    return x_t.x_t[0].clone()


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
    operator: JacobianOperator,
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


def _shape(
    recipe: DiscoverRecipe, space: Space, mask: Tensor, found: Triplets, rest: Triplets, *, told: bool
) -> tuple[Tensor, Tensor]:
    """A region's directions [k, D], unit length and signed, and what the projection left of each [k]."""
    null = rest.right[: _null_rank(rest, recipe.null_energy)]
    if recipe.method == "constrained" and not told and len(found.right):
        outside = space.images * ~mask
        top = float(torch.linalg.eigvalsh(outside.double() @ outside.double().T)[-1])
        ridge = max(recipe.ridge * top, 1e-12 * float(found.values[0]) ** 2)
        vectors = constrained(space.basis, space.images, mask, ridge, len(found.right))
        return canonical_sign(vectors), project_out(vectors, null).norm(dim=1).clamp_max(1)
    left = project_out(found.right, null)
    vectors = torch.nn.functional.normalize(left, dim=1)
    # An edit told in words has a sign of its own; rounding may make a length exceed 1.
    return (vectors if told else canonical_sign(vectors)), left.norm(dim=1).clamp_max(1)


def _null_rank(rest: Triplets, energy: float) -> int:
    """How many of the complement's vectors are projected away: all, or as many as hold that much of its energy."""
    if not energy:
        return len(rest.values)
    held = rest.values.double().square().cumsum(0) / max(rest.energy, 1e-30)
    return min(int((held < energy).sum()) + 1, len(rest.values))


def _row_mask(roi: Roi, shape: tuple[int, int, int], x_t: Tensor) -> Tensor:
    """The region's rows of J, whose values have `shape` (C, H, W): [C * H * W] bool on the device of x_t."""
    mask = torch.from_numpy(roi.mask.copy()).to(x_t.device)
    return mask.expand(shape).flatten()


def _nothing_left(retained: float, recipe: DiscoverRecipe) -> str:
    return (
        f"only {retained:.3f} of it is left after the projection off the rest of the image "
        f"(min_retained is {recipe.min_retained}); try a smaller null_rank or another region"
    )


def _leakage(response: Tensor, mask: Tensor) -> float | None:
    """RMS of J v over the rows outside, over its RMS inside; None where there is no outside."""
    if bool(mask.all()):
        return None
    inside = float(response[mask].double().pow(2).mean().sqrt())
    return float(response[~mask].double().pow(2).mean().sqrt()) / max(inside, 1e-30)
