"""The edit: x_t + sum of strength * v, denoised from t to 0 (LOCO Edit, Algorithm 1, step 7, and its composition).

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

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.diffusion.codec import Codec, Pixels, codec_of
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import Progress, advance, steps_of
from loco.inversion import InversionPath
from loco.linalg.projection import project_out

PROBE = 1.0
"""Length of the displacement that the first-order response is measured with: well inside every linear range."""


def combine(vectors: Tensor, strengths: Sequence[float]) -> Tensor:
    """Sum of strength_i * v_i, [C, H, W], for unit vectors [k, C, H, W]."""
    weights = torch.tensor(strengths, dtype=vectors.dtype, device=vectors.device)
    return torch.einsum("k,kchw->chw", weights, vectors)


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
    with torch.no_grad():
        moved = denoiser.posterior_mean(path.x_t + PROBE * direction, path.t) - known
        response = _decoded(codec_of(denoiser), known, moved)
    if progress is not None:
        progress(len(path))
    return response / PROBE


def _decoded(codec: Codec, x0: Tensor, delta: Tensor) -> Tensor:
    """What adding `delta` to x0 does to the image."""
    return delta if isinstance(codec, Pixels) else codec.decode(x0 + delta) - codec.decode(x0)


def change(
    denoiser: Denoiser,
    path: InversionPath,
    displacement: Tensor,
    progress: Progress | None = None,
    least: Tensor | None = None,
) -> Tensor:
    """What adding `displacement` at t does to each image: [B, 3, H, W], in units of [-1, 1].

    Args:
        denoiser: The model.
        path: The images' complete paths.
        displacement: One for all images, [C, H, W], or one each, [B, C, H, W].
        progress: Told of evaluations.
        least: Norm of the decoded response at t, [B], below which the displacement has no effect on an
            image: its change is then zero, and its remaining evaluations are saved.
    """
    codec = codec_of(denoiser)
    delta = displacement.expand_as(path.x_t)
    result = delta.new_zeros((len(delta), *codec.image_shape))
    live = delta.flatten(1).any(dim=1)
    rows = live.nonzero()[:, 0]
    if not len(rows):
        return result
    points, means = path.points, path.means
    if len(rows) < len(delta):
        delta, points, means = delta[rows], points[rows], means[rows]
    before: Tensor | None = None
    levels = denoiser.schedule.grid(path.t, path.grid.steps)[::-1]
    with torch.no_grad():
        for k, step in enumerate(steps_of(denoiser.schedule, levels, path.grid.order)):
            place = points.shape[1] - 1 - k
            moved = denoiser.posterior_mean(points[:, place] + delta, step.level) - means[:, place]
            if progress is not None:
                progress(len(delta))
            if k == 0 and least is not None:
                response = _decoded(codec, means[:, place], moved)
                felt = response.flatten(1).norm(dim=1) >= least[rows]
                if not bool(felt.all()):
                    rows, delta, moved = rows[felt], delta[felt], moved[felt]
                    points, means = points[felt], means[felt]
                    if not len(rows):
                        return result
            delta, before = advance(step, delta, moved, before), moved
        result[rows] = _decoded(codec, points[:, 0], delta)
    return result
