"""The network's part of bulk application: full batches that mix images, directions and strengths.

An image that comes in is inverted in a batch of its like, unless its path is in the cache, and then edited in lanes:
one lane is one image, one sum of directions and one strength. Lanes of any kind share batches, because all of a grid's
lanes are evaluated at the same noise levels. What is not needed is not evaluated: strength 0, images without effect.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.codec import codec_of
from loco.diffusion.denoiser import Denoiser
from loco.edit import change, first_order
from loco.inversion import Grid, InversionPath, invert, joined, restore
from loco.recipes import SD, EditRecipe


@dataclass(frozen=True)
class Push:
    """A sum of directions, as the network sees it.

    Attributes:
        unit: The displacement at unit length, [C, H, W].
        length: Length of the sum at strength 1.
        gain: Norm of the first-order response that the directions promise, per unit of length.
        area: Fraction of the pixels in their regions.
        later: What is added on the way down, by noise level, per unit of strength, [C, H, W].
    """

    unit: Tensor
    length: float
    gain: float
    area: float
    later: Mapping[float, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class Image:
    """One image on its way through the network.

    Attributes:
        x0: float32 [C, H, W] in [-1, 1].
        means: Per grid, the cached means of its path [n + 1, C, H, W].
        seconds: Time spent on it so far.
        carried: What the caller wants back with its results.
    """

    x0: NDArray[np.float32]
    means: dict[Grid, NDArray[Any]]
    carried: Any
    seconds: float = 0.0
    paths: dict[Grid, InversionPath] = field(default_factory=dict)
    responses: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What one lane came to: the change float32 [C, H, W], None where there is none, and what was measured."""

    image: Image
    edit: int
    change: NDArray[np.float32] | None
    metrics: dict[str, float]
    seconds: float
    no_effect: bool = False


@dataclass
class Tally:
    """Where the network's time went."""

    invert: float = 0.0
    edit: float = 0.0
    evaluations: int = 0

    def count(self, evaluations: int) -> None:
        """So many more single-image evaluations."""
        self.evaluations += evaluations


class Editor:
    """Takes images with the edits wanted of them, yields results as batches fill."""

    def __init__(
        self,
        denoiser: Denoiser,
        recipes: tuple[EditRecipe, ...],
        strengths: tuple[float, ...],
        pushes: tuple[Push, ...],
        sums: tuple[int, ...],
        *,
        batch: int,
        keep: Callable[[Image, Grid, NDArray[Any]], None],
    ) -> None:
        """Edit k applies `pushes[sums[k]]` at `strengths[k]` as `recipes[k]` says.

        `keep` is given each path's means once they are computed. `batch` is the number of images or lanes that are
        evaluated together.
        """
        self.tally = Tally()
        self._denoiser = denoiser
        self._recipes, self._strengths, self._pushes, self._sums = recipes, strengths, pushes, sums
        self._batch, self._keep = batch, keep
        self._fresh: dict[Grid, list[tuple[Image, list[int]]]] = {}
        self._held: dict[Grid, list[tuple[Image, list[int]]]] = {}
        self._lanes: dict[Grid, deque[tuple[Image, int]]] = {}
        self._like = pushes[0].unit

    def take(self, image: Image, edits: list[int]) -> Iterator[Result]:
        """Queue the edits of one image; yields what is ready."""
        wanted: dict[Grid, list[int]] = {}
        for edit in edits:
            if self._strength(edit) == 0 and not (
                self._strengths[edit] and self._pushes[self._sums[edit]].later
            ):
                yield Result(image, edit, None, {"lambda": 0.0}, 0.0, no_effect=self._strengths[edit] != 0)
            else:
                wanted.setdefault(Grid.of(self._recipes[edit]), []).append(edit)
        for grid, several in wanted.items():
            waiting = self._held if grid in image.means else self._fresh
            waiting.setdefault(grid, []).append((image, several))
            if len(waiting[grid]) == self._batch:
                (self._restore if waiting is self._held else self._invert)(grid)
            yield from self._edit(grid, self._batch)

    def flush(self) -> Iterator[Result]:
        """All that is still queued."""
        for grid in [*self._fresh]:
            self._invert(grid)
        for grid in [*self._held]:
            self._restore(grid)
        for grid in [*self._lanes]:
            yield from self._edit(grid, 1)

    def _strength(self, edit: int) -> float:
        return self._strengths[edit] * self._pushes[self._sums[edit]].length

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._like.device, self._like.dtype)

    def _queue(self, grid: Grid, image: Image, edits: list[int]) -> None:
        self._lanes.setdefault(grid, deque()).extend((image, edit) for edit in edits)

    def _invert(self, grid: Grid) -> None:
        fresh, self._fresh[grid] = self._fresh[grid], []
        if not fresh:
            return
        started = time.perf_counter()
        x0 = torch.stack([self._tensor(image.x0) for image, _ in fresh])
        if all(self._recipes[edit].preview for _, edits in fresh for edit in edits):
            whole = _glimpse(self._denoiser, x0, grid, self.tally.count)
        else:
            whole = invert(
                self._denoiser, x0, grid.t, grid.steps, progress=self.tally.count, order=grid.order
            )
        held = whole.means.cpu().numpy() if whole.grid.steps else None
        spent = time.perf_counter() - started
        self.tally.invert += spent
        for row, (image, edits) in enumerate(fresh):
            image.seconds += spent / len(fresh)
            image.paths[grid] = whole[row : row + 1]
            if held is not None:
                self._keep(image, grid, held[row])
            self._queue(grid, image, edits)

    def _restore(self, grid: Grid) -> None:
        """The paths of images whose means came from the cache, by one evaluation where discovery put them there."""
        held, self._held[grid] = self._held[grid], []
        alike: dict[int, list[tuple[Image, list[int]]]] = {}
        for image, edits in held:
            alike.setdefault(len(image.means[grid]), []).append((image, edits))
        for _, several in sorted(alike.items()):
            self._restore_alike(grid, several)

    def _restore_alike(self, grid: Grid, held: list[tuple[Image, list[int]]]) -> None:
        started = time.perf_counter()
        x0, means = (
            torch.stack([self._tensor(one) for one in several])
            for several in ([image.x0 for image, _ in held], [image.means[grid] for image, _ in held])
        )
        whole = restore(self._denoiser, x0, means, grid, self.tally.count)
        fuller = whole.means.cpu().numpy() if whole.means.shape[1] > means.shape[1] else None
        for row, (image, edits) in enumerate(held):
            path = whole[row : row + 1]
            image.paths[grid] = path.end() if self._recipes[edits[0]].preview else path
            del image.means[grid]
            if fuller is not None:
                self._keep(image, grid, fuller[row])
            self._queue(grid, image, edits)
        self.tally.invert += time.perf_counter() - started

    def _edit(self, grid: Grid, least: int) -> Iterator[Result]:
        """Edit while at least so many lanes wait."""
        lanes = self._lanes.get(grid, deque())
        while len(lanes) >= least:
            yield from self._together(grid, [lanes.popleft() for _ in range(min(self._batch, len(lanes)))])

    def _together(self, grid: Grid, lanes: list[tuple[Image, int]]) -> Iterator[Result]:
        started = time.perf_counter()
        self._probe(grid, lanes)
        strengths = [self._lambda(image, edit) for image, edit in lanes]
        units = [self._pushes[self._sums[edit]].unit for _, edit in lanes]
        least = [
            self._recipes[edit].min_effect * self._pushes[self._sums[edit]].gain * abs(strength)
            for (_, edit), strength in zip(lanes, strengths, strict=True)
        ]
        if self._recipes[lanes[0][1]].preview:
            responses = [image.responses[self._sums[edit]] for image, edit in lanes]
            changes = torch.stack(
                [strength * one for strength, one in zip(strengths, responses, strict=True)]
            )
            weak = changes.flatten(1).norm(dim=1) < torch.tensor(least, device=changes.device)
            changes[weak] = 0
        else:
            changes = change(
                self._denoiser,
                joined([image.paths[grid] for image, _ in lanes]),
                torch.stack([strength * unit for strength, unit in zip(strengths, units, strict=True)]),
                self.tally.count,
                torch.tensor(least, device=self._like.device, dtype=self._like.dtype),
                self._later(lanes),
            )
        moved = changes.float().cpu().numpy()
        spent = time.perf_counter() - started
        self.tally.edit += spent
        for (image, edit), strength, delta in zip(lanes, strengths, moved, strict=True):
            seconds = spent / len(lanes) + image.seconds
            image.seconds = 0.0  # the inversion is on the account of the first edit
            metrics = {"lambda": strength}
            if not delta.any():
                yield Result(image, edit, None, metrics, seconds, no_effect=True)
                continue
            metrics["change"] = float((delta.astype(np.float64) ** 2).mean())
            yield Result(image, edit, delta, metrics, seconds)

    def _later(self, lanes: list[tuple[Image, int]]) -> dict[float, Tensor]:
        """What the lanes are given on the way down, by noise level: one displacement a lane, most of them nothing."""
        pushes = [self._pushes[self._sums[edit]] for _, edit in lanes]
        return {
            level: torch.stack(
                [
                    self._strengths[edit] * push.later[level]
                    if level in push.later
                    else torch.zeros_like(push.unit)
                    for (_, edit), push in zip(lanes, pushes, strict=True)
                ]
            )
            for level in sorted({level for push in pushes for level in push.later})
        }

    def _probe(self, grid: Grid, lanes: list[tuple[Image, int]]) -> None:
        """Measure J d where a lane needs it and no lane of the same image and sum did before."""
        wanted = {
            (id(image), self._sums[edit]): (image, self._sums[edit])
            for image, edit in lanes
            if (self._recipes[edit].unit == "sd" or self._recipes[edit].preview)
            and self._sums[edit] not in image.responses
        }
        if not wanted:
            return
        several = list(wanted.values())
        responses = first_order(
            self._denoiser,
            joined([image.paths[grid] for image, _ in several]),
            torch.stack([self._pushes[which].unit for _, which in several]),
            self.tally.count,
        )
        for (image, which), response in zip(several, responses, strict=True):
            image.responses[which] = response

    def _lambda(self, image: Image, edit: int) -> float:
        """Length of what is added to x_t of this image, with the strength's sign; 0 where nothing responds."""
        recipe, push = self._recipes[edit], self._pushes[self._sums[edit]]
        strength = self._strength(edit)
        if recipe.unit == "lambda":
            return strength
        responded = image.responses[self._sums[edit]]
        response = float(responded.norm())
        if response <= recipe.min_effect * push.gain or response == 0:
            return 0.0
        return strength * SD * math.sqrt(push.area * responded.numel()) / response


def _glimpse(denoiser: Denoiser, x0: Tensor, grid: Grid, progress: Callable[[int], None]) -> InversionPath:
    """For a preview: x_t by adding the same noise to every image, and the mean there; one evaluation an image."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(denoiser.shape, generator=generator).to(x0.device, x0.dtype)
    signal, spread = denoiser.schedule.signal(grid.t), denoiser.schedule.noise(grid.t)
    with torch.no_grad():
        x_t = signal * codec_of(denoiser).encode(x0) + spread * noise
        mean = denoiser.posterior_mean(x_t, grid.t)
    progress(len(x0))
    return InversionPath(x_t[:, None], mean[:, None], Grid(grid.t, 0, grid.order))
