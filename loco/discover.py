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

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.direction import Basis, Direction, Refusal, RoiMask, basis_id, direction_id
from loco.errors import DirectionError
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.linalg.projection import canonical_sign, project_out
from loco.recipes import DiscoverRecipe
from loco.roi import Roi
from loco.tloco import pulled_back


def discover(
    denoiser: Denoiser,
    x_t: Tensor,
    rois: Sequence[Roi],
    recipe: DiscoverRecipe,
    *,
    model: str,
    image_id: str,
    image_name: str = "",
    edited: Denoiser | None = None,
) -> Basis:
    """The directions of every region of one image, with their evidence.

    Args:
        denoiser: The model.
        x_t: The image at noise level `recipe.t`, [C, H, W].
        rois: Regions at the size of the model's images, (H, W), with names that differ.
        recipe: Ranks, tolerance, seed.
        model: Weights hash of the model.
        image_id: sha256 of the image file's bytes.
        image_name: The image's name, for people.
        edited: The posterior mean of an edit told in words; the directions are then those of `loco.tloco`.

    Returns a `Basis`; directions that vanish in the projection are listed in its `refused`.
    Raises `ValueError` when a mask is not of the model's size, `DirectionError` when the network's answers are not
    finite numbers.
    """
    size = codec_of(denoiser).image_shape[1:]
    for roi in rois:
        if roi.mask.shape != size:
            raise ValueError(f"mask of {roi.name} is {roi.mask.shape}, the model works at {size}")
    decoded = recipe.rows == "pixels"
    f = seen(denoiser, recipe.t, decoded=decoded)
    operator = JacobianOperator(f, x_t)
    shape = codec_of(denoiser).image_shape if decoded else denoiser.shape
    masks = [_row_mask(roi.at(*shape[1:]), shape, x_t) for roi in rois]
    inside = [Rows(mask, min(recipe.rank, int(mask.sum()))) for mask in masks] if edited is None else []
    outside = [Rows(~mask, min(recipe.null_rank, int((~mask).sum()))) for mask in masks]
    towards = JacobianOperator(f if edited is None else seen(edited, recipe.t, decoded=decoded), x_t)
    try:
        solved = row_svds(
            operator, inside + outside, tol=recipe.tol, max_rounds=recipe.max_rounds, seed=recipe.seed
        )
        if edited is not None:
            solved = pulled_back(f, towards, x_t, masks) + solved
    except FloatingPointError as error:
        raise DirectionError(
            f"the model's answer for {image_name or image_id} at t = {recipe.t:g} is not finite ({error}); "
            f"look at the image, or try another t or dtype"
        ) from error
    found, rest = solved[: len(rois)], solved[len(rois) :]

    projected = [project_out(roi.right, null.right) for roi, null in zip(found, rest, strict=True)]
    retained = [block.norm(dim=1).clamp_max(1) for block in projected]  # rounding may exceed 1
    vectors = [torch.nn.functional.normalize(block, dim=1) for block in projected]
    if edited is None:  # an edit told in words has a sign of its own
        vectors = [canonical_sign(block) for block in vectors]
    responses = operator.mv(torch.cat(vectors)).split([len(block) for block in vectors])

    name_basis = basis_id(model, image_id, recipe, tuple(roi.id for roi in rois))
    directions: list[Direction] = []
    kept: list[Tensor] = []
    refused: list[Refusal] = []
    for i, roi in enumerate(rois):
        if not len(vectors[i]):
            refused.append(
                Refusal(roi.name, 0, "the region does not respond: its Jacobian vanishes at this t")
            )
        for k in range(len(vectors[i])):
            if float(retained[i][k]) < recipe.min_retained:
                refused.append(Refusal(roi.name, k, _nothing_left(float(retained[i][k]), recipe)))
                continue
            response = responses[i][k]
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
                    converged=bool(found[i].converged[k]) and bool(rest[i].converged.all()),
                    gain=float(response[masks[i]].norm()),
                    leakage=_leakage(response, masks[i]),
                    retained=float(retained[i][k]),
                    prompt=recipe.prompt,
                    edit_prompt=recipe.edit_prompt,
                )
            )
            kept.append(vectors[i][k])
    stacked = torch.stack(kept) if kept else x_t.new_zeros((0, operator.size))
    return Basis(
        id=name_basis,
        model=model,
        image_id=image_id,
        image_name=image_name,
        recipe=recipe,
        rois=tuple(RoiMask(roi.id, roi.name, roi.source, roi.mask) for roi in rois),
        directions=tuple(directions),
        vectors=stacked.reshape(-1, *denoiser.shape).cpu().numpy().astype(np.float32),
        refused=tuple(refused),
        products=operator.products + towards.products,
        evaluations=operator.evaluations
        + towards.evaluations
        + len(list(pairwise(denoiser.schedule.grid(recipe.t, recipe.steps)))),
    )


def _row_mask(roi: Roi, shape: tuple[int, int, int], x_t: Tensor) -> Tensor:
    """The region's rows of J, whose values have `shape` (C, H, W): [C * H * W] bool on the device of x_t."""
    mask = torch.from_numpy(roi.mask.copy()).to(x_t.device)
    return mask.expand(shape).flatten()


def _nothing_left(retained: float, recipe: DiscoverRecipe) -> str:
    return (
        f"only {retained:.3f} of it is left after the projection off the rest of the image "
        f"(min_retained is {recipe.min_retained}); try a smaller null_rank or another region"
    )


def _leakage(response: Tensor, mask: Tensor) -> float:
    """RMS of J v over the rows outside, over its RMS inside; 0 where there is no outside."""
    if bool(mask.all()):
        return 0.0
    inside = float(response[mask].double().pow(2).mean().sqrt())
    return float(response[~mask].double().pow(2).mean().sqrt()) / max(inside, 1e-30)
