"""The edit: x_t + sum of strength * v, denoised from t to 0 (LOCO Edit, Algorithm 1, step 7, and its composition).

Coarse to fine, a direction that was found at a lower noise level is added on the way down, when the path gets there.

What is returned is the *change* that adding d at t makes to the image. It is followed along the path of the inversion,
x_0 -> x_1 -> ... -> x_n = x_t, instead of computing the edited image and subtracting a reconstruction: with m the
posterior mean and y_s the edited path, the difference delta_s = y_s - x_s starts as d and obeys the solver's own step

    delta_r = keep delta_s + now (m(x_s + delta_s, s) - m(x_s, s))        (+ the same of the step before)

because a step is linear in point and mean. Every m(x_s, s) but the one at t was evaluated by the inversion already, so
an image costs n + 1 evaluations and then n for each edit, where edited - reconstruction takes 2 n and n. It is the same
where the inversion is exact; where it is not, the path ends at the input itself and not near it. Added to the input the
change is the edited image, free of the error of inversion and sampling, and exactly the input where nothing was added.

For a latent model all this happens to latents, and the change of the image is decode(x_0 + delta_0) - decode(x_0).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.codec import Codec, Pixels, codec_of
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.guidance import under
from loco.diffusion.sampling import Progress, advance, steps_of
from loco.direction import Direction
from loco.errors import InputError
from loco.finish import edge_of, feather
from loco.inversion import Grid, InversionPath, completed, invert
from loco.linalg.projection import project_out
from loco.precision import rounding
from loco.recipes import SD, EditRecipe
from loco.rois.roi import Roi

PROBE = 1.0
"""Length of the displacement that the first-order response is measured with: well inside every linear range."""

HALF_PROBE = 0.05
"""The same for a network in half precision, as the RMS change of an entry."""


def edit(
    denoiser: Denoiser,
    images: Tensor,
    recipe: EditRecipe,
    vectors: Tensor | NDArray[Any],
    *,
    directions: Sequence[Direction] = (),
    against: Tensor | NDArray[Any] | None = None,
    inside: Roi | None = None,
    path: InversionPath | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """The edited images: images [B, 3, H, W] in [-1, 1], of pixel and latent models alike, and what the recipe changes.

    Args:
        denoiser: The model as it was opened: a prompt of the recipe's is told to it here.
        images: What is edited.
        recipe: Level, steps, solver, and each direction with its strength.
        vectors: The recipe's directions, [k, C, H, W], in its order.
        directions: Their evidence, which `unit = "sd"` needs, and `min_effect` where it is to count.
        against: The vectors that `recipe.against` names, [m, C, H, W].
        inside: At the model's size, what `recipe.confine` names: nothing outside changes.
        path: Where several edits share it: the images' complete path along the recipe's grid.
        progress: Told of evaluations.

    Returns [B, 3, H, W], not clipped; with no strength the images themselves, and without an evaluation. Raises
    `InputError` where the recipe wants what is not given.
    """
    missing = [
        name
        for name, needed in (
            (f"{len(recipe.directions)} vectors", len(vectors) != len(recipe.directions)),
            (
                "directions, for unit = 'sd'",
                recipe.unit == "sd" and len(directions) != len(recipe.directions),
            ),
            ("against, the vectors that the recipe names", len(recipe.against) != _count(against)),
            (
                "inside, the region that the recipe is confined to",
                (recipe.confine is None) != (inside is None),
            ),
        )
        if needed
    ]
    if missing:
        raise InputError(f"edit: the recipe needs {'; '.join(missing)}; {len(vectors)} vectors are given")
    given = torch.as_tensor(vectors).to(images)
    if against is not None:
        given, _ = orthogonalise(given, torch.as_tensor(against).to(images))
    strengths = [strength for _, strength in recipe.directions]
    added, later = staged(given, strengths, recipe)
    length = float(added.norm())
    if length == 0 and not later:
        return images
    denoiser = under(denoiser, recipe)
    grid = Grid.of(recipe)
    if path is None:
        path = invert(denoiser, images, grid.t, grid.steps, progress, grid.order)
    elif path.grid != grid or len(path) != len(images):
        raise InputError(f"edit: expected the path of {len(images)} images along {grid}, found {path.grid}")
    if later:
        found = change(denoiser, completed(denoiser, path, progress), added, progress, later=later)
    else:
        found = _changed(denoiser, path, recipe, added / length, length, directions, progress)
    if inside is not None:
        found = found * torch.from_numpy(feather(inside.mask, edge_of(inside.mask, recipe.feather))).to(found)
    return images + found


def _changed(
    denoiser: Denoiser,
    path: InversionPath,
    recipe: EditRecipe,
    unit: Tensor,
    length: float,
    directions: Sequence[Direction],
    progress: Progress | None,
) -> Tensor:
    """What adding `length` times the displacement `unit` changes, [B, 3, H, W], in the recipe's way."""
    path = completed(denoiser, path, progress)
    weights = [strength for _, strength in recipe.directions]
    promised = sum((w * one.gain) ** 2 for w, one in zip(weights, directions, strict=False)) ** 0.5 / length
    least = recipe.min_effect * promised
    lengths = path.x_t.new_full((len(path),), length)
    response: Tensor | None = None
    if recipe.unit == "sd" or recipe.preview:
        response = first_order(denoiser, path, unit, progress)
        size = response.flatten(1).norm(dim=1)
        if recipe.unit == "sd":
            area = sum(one.roi_area for one in directions) / len(directions)
            wanted = SD * math.sqrt(area * response[0].numel())
            lengths = torch.where(size > least, length * wanted / size.clamp_min(1e-30), 0)
        if recipe.preview:
            weak = lengths * size < least * lengths
            return torch.where(weak, 0, lengths)[:, None, None, None] * response
    displacement = lengths[:, None, None, None] * unit
    return change(denoiser, path, displacement, progress, least * lengths if least else None)


def _count(vectors: Tensor | NDArray[Any] | None) -> int:
    return 0 if vectors is None else len(vectors)


def combine(vectors: Tensor, strengths: Sequence[float]) -> Tensor:
    """Sum of strength_i * v_i, [C, H, W], for unit vectors [k, C, H, W]."""
    weights = torch.tensor(strengths, dtype=vectors.dtype, device=vectors.device)
    return torch.einsum("k,kchw->chw", weights, vectors)


def staged(
    vectors: Tensor, strengths: Sequence[float], recipe: EditRecipe
) -> tuple[Tensor, dict[float, Tensor]]:
    """What is added at t, [C, H, W], and what at each of the lower levels that the recipe names: weighted sums."""
    if not recipe.levels:
        return combine(vectors, strengths), {}
    parts: dict[float, Tensor] = {}
    for level in sorted(set(recipe.levels)):
        own = [k for k, one in enumerate(recipe.levels) if one == level]
        parts[level] = combine(vectors[own], [strengths[k] for k in own])
    top = parts.pop(recipe.t)
    return top, {level: part for level, part in parts.items() if bool(part.any())}


def orthogonalise(vectors: Tensor, against: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [k, C, H, W] projected off the span of `against` [m, C, H, W] and made unit again.

    Returns them with what was left of each before that, [k] in [0, 1]; one of which nothing is left stays zero.
    """
    _, sizes, span = torch.linalg.svd(against.flatten(1).double(), full_matrices=False)
    left = project_out(vectors.flatten(1).double(), span[sizes > 1e-6 * sizes.max()])
    lengths = left.norm(dim=1)
    unit = left / lengths.clamp_min(torch.finfo(left.dtype).tiny)[:, None]
    unit[lengths < 1e-6] = 0
    return unit.to(vectors.dtype).view_as(vectors), lengths.to(vectors.dtype)


def first_order(
    denoiser: Denoiser, path: InversionPath, direction: Tensor, progress: Progress | None = None
) -> Tensor:
    """J d, the response [B, 3, H, W] of the posterior mean at t, decoded, to unit directions d, [C, H, W] or one each.

    A forward difference against the mean that is known already: one evaluation an image.
    """
    known = path.means[:, -1]
    # A network in half precision does not see so small a step.
    length = PROBE if rounding(denoiser) is None else max(PROBE, HALF_PROBE * path.x_t[0].numel() ** 0.5)
    with torch.no_grad():
        moved = denoiser.posterior_mean(path.x_t + length * direction, path.t) - known
        response = _decoded(codec_of(denoiser), known, moved)
    if progress is not None:
        progress(len(path))
    return response / length


def _decoded(codec: Codec, x0: Tensor, delta: Tensor) -> Tensor:
    """What adding `delta` to x0 does to the image."""
    return delta if isinstance(codec, Pixels) else codec.decode(x0 + delta) - codec.decode(x0)


def change(
    denoiser: Denoiser,
    path: InversionPath,
    displacement: Tensor,
    progress: Progress | None = None,
    least: Tensor | None = None,
    later: Mapping[float, Tensor] | None = None,
) -> Tensor:
    """What adding `displacement` at t does to each image: [B, 3, H, W], in units of [-1, 1].

    Args:
        denoiser: The model.
        path: The images' complete paths.
        displacement: One for all images, [C, H, W], or one each, [B, C, H, W].
        progress: Told of evaluations.
        least: Norm of the decoded response at t, [B], below which the displacement has no effect on an
            image: its change is then zero, and its remaining evaluations are saved.
        later: What is added on the way down, by noise level, in the shapes of `displacement`; each at that level of
            the grid which is nearest to its own, above 0. An image that is given something later is not passed
            through by `least`.
    """
    codec = codec_of(denoiser)
    delta = displacement.expand_as(path.x_t)
    result = delta.new_zeros((len(delta), *codec.image_shape))
    levels = denoiser.schedule.grid(path.t, path.grid.steps)[::-1]
    joining = _joining({} if later is None else later, levels, delta)
    delta = delta + joining.pop(0) if 0 in joining else delta
    awaits = delta.new_zeros(len(delta), dtype=torch.bool)
    for one in joining.values():
        awaits |= one.flatten(1).any(dim=1)
    live = delta.flatten(1).any(dim=1) | awaits
    rows = live.nonzero()[:, 0]
    if not len(rows):
        return result
    points, means = path.points, path.means
    if len(rows) < len(delta):
        delta, points, means = delta[rows], points[rows], means[rows]
    before: Tensor | None = None
    with torch.no_grad():
        for k, step in enumerate(steps_of(denoiser.schedule, levels, path.grid.order)):
            place = points.shape[1] - 1 - k
            joins = joining[k][rows] if k in joining else None
            if joins is not None:
                delta = delta + joins
            moved = denoiser.posterior_mean(points[:, place] + delta, step.level) - means[:, place]
            if progress is not None:
                progress(len(delta))
            if joins is not None and before is not None:
                # What the step before says of the slope is not true of who begins anew: a step of first order there.
                anew = joins.flatten(1).any(dim=1)
                before = torch.where(anew[:, None, None, None], moved, before)
            if k == 0 and least is not None:
                response = _decoded(codec, means[:, place], moved)
                felt = (response.flatten(1).norm(dim=1) >= least[rows]) | awaits[rows]
                if not bool(felt.all()):
                    rows, delta, moved = rows[felt], delta[felt], moved[felt]
                    points, means = points[felt], means[felt]
                    if not len(rows):
                        return result
            delta, before = advance(step, delta, moved, before), moved
        result[rows] = _decoded(codec, points[:, 0], delta)
    return result


def _joining(later: Mapping[float, Tensor], levels: Sequence[float], like: Tensor) -> dict[int, Tensor]:
    """Place among `levels`, the noisiest first and the last one the image, -> what is added there, [B, C, H, W]."""
    found: dict[int, Tensor] = {}
    for level, displacement in sorted(later.items()):
        place = min(range(max(1, len(levels) - 1)), key=lambda k: abs(levels[k] - level))
        whole = displacement.expand_as(like)
        found[place] = found[place] + whole if place in found else whole
    return found
