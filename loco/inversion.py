"""Inversion paths: what inverting an image to t yields, shared by whoever needs a part of it.

The path is x_0 -> x_1 -> ... -> x_n = x_t with the posterior means on the way. Discovery wants its end; an edit wants
all of it (`loco.edit`); a cache keeps the means, from which the points follow without any evaluation (`restore`).
The mean at t itself is the one that only edits want: without it an image costs n evaluations, with it n + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import Progress, advance, steps_of
from loco.ids import content_id
from loco.recipes import ALGORITHM, SOLVERS, DiscoverRecipe, EditRecipe


@dataclass(frozen=True)
class Grid:
    """The levels that a path goes through, and how.

    Attributes:
        t: The noise level at its end.
        steps: Steps asked for; there may be fewer, see `Schedule.grid`. 0 for a path of its end alone.
        order: Order of the solver, 1 or 2.
    """

    t: float
    steps: int
    order: int = 1

    @classmethod
    def of(cls, recipe: DiscoverRecipe | EditRecipe) -> "Grid":
        """The grid that a recipe's images are inverted along."""
        # A discovery's `solver` is that of its singular vectors.
        return cls(recipe.t, recipe.steps, SOLVERS[recipe.solver] if isinstance(recipe, EditRecipe) else 1)

    def key(self, model: str, train_steps: int, image_id: str, recipe: DiscoverRecipe | EditRecipe) -> str:
        """Id of an image's path along this grid: of all that it is made of, and of nothing else.

        `model` is the weights' hash, `image_id` the sha256 of the file; of the recipe only its dtype and prompts count.
        """
        step = round(self.t * (train_steps - 1))
        words = [recipe.prompt, recipe.negative, recipe.guidance]
        made_of = [ALGORITHM, model, image_id, step, self.steps, self.order, recipe.dtype, words]
        return content_id("path", made_of)


@dataclass(frozen=True)
class InversionPath:
    """The inversion paths of a batch of images along one grid.

    Attributes:
        points: The path, [B, n + 1, C, H, W]: images (or their latents) first, x_t last.
        means: Posterior means at the points, from the cleanest on: [B, n + 1, C, H, W], or n without the one at t.
        grid: The levels.
    """

    points: Tensor
    means: Tensor
    grid: Grid

    @property
    def t(self) -> float:
        """The noise level at its end."""
        return self.grid.t

    @property
    def x_t(self) -> Tensor:
        """The images at noise level t, [B, C, H, W]."""
        return self.points[:, -1]

    @property
    def complete(self) -> bool:
        """Whether the mean at t is there, which edits need."""
        return self.means.shape[1] == self.points.shape[1]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.points)

    def __getitem__(self, rows: slice) -> "InversionPath":
        """The paths of some of the images."""
        return replace(self, points=self.points[rows], means=self.means[rows])

    def end(self) -> "InversionPath":
        """The same at t alone, which is all that a first-order response needs."""
        return InversionPath(self.points[:, -1:], self.means[:, -1:], Grid(self.t, 0, self.grid.order))


def joined(paths: Sequence[InversionPath]) -> InversionPath:
    """Paths along one grid as one batch."""
    points, means = (torch.cat([getattr(one, name) for one in paths]) for name in ("points", "means"))
    return InversionPath(points, means, paths[0].grid)


def invert(
    denoiser: Denoiser,
    images: Tensor,
    t: float,
    steps: int,
    progress: Progress | None = None,
    order: int = 1,
    *,
    complete: bool = True,
) -> InversionPath:
    """Invert images [B, 3, H, W] in [-1, 1], of pixel and latent models alike, straight to noise level t.

    Costs `steps` evaluations an image, and one more for a `complete` path, which an edit needs.
    """
    levels = denoiser.schedule.grid(t, steps)
    with torch.no_grad():
        x, before = codec_of(denoiser).encode(images), None
        points, means = [x], list[Tensor]()
        for step in steps_of(denoiser.schedule, levels, order):
            means.append(denoiser.posterior_mean(x, step.level))
            x, before = advance(step, x, means[-1], before), means[-1]
            points.append(x)
            if progress is not None:
                progress(len(images))
        if complete:
            means.append(denoiser.posterior_mean(x, levels[-1]))
            if progress is not None:
                progress(len(images))
    path = torch.stack(points, 1)
    return InversionPath(path, torch.stack(means, 1) if means else path[:, :0], Grid(t, steps, order))


def restore(
    denoiser: Denoiser, images: Tensor, means: Tensor, grid: Grid, progress: Progress | None = None
) -> InversionPath:
    """The complete path of images [B, 3, H, W] from its `means` [B, n or n + 1, C, H, W], by one evaluation or none.

    Raises `ValueError` for means of another grid.
    """
    levels = denoiser.schedule.grid(grid.t, grid.steps)
    if means.shape[1] not in (len(levels) - 1, len(levels)):
        raise ValueError(f"expected the means of {len(levels)} levels, found {means.shape[1]}")
    with torch.no_grad():
        x, before = codec_of(denoiser).encode(images), None
    points = [x]
    for k, step in enumerate(steps_of(denoiser.schedule, levels, grid.order)):
        x, before = advance(step, x, means[:, k], before), means[:, k]
        points.append(x)
    return completed(denoiser, InversionPath(torch.stack(points, 1), means, grid), progress)


def completed(denoiser: Denoiser, path: InversionPath, progress: Progress | None = None) -> InversionPath:
    """The path with the mean at t: one evaluation an image where it is not there."""
    if path.complete:
        return path
    with torch.no_grad():
        level = denoiser.schedule.grid(path.t, path.grid.steps)[-1]
        last = denoiser.posterior_mean(path.x_t, level)
    if progress is not None:
        progress(len(path))
    return replace(path, means=torch.cat([path.means, last[:, None]], 1))
