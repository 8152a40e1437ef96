"""Training of attribute readers on endless rendered faces, whose attributes are known.

A reader gives each attribute as a fraction of its range, from the middle: -1/2 to 1/2. It is trained on clean images
and on slightly blurred and noisy ones, so that what a denoiser makes of a face is nothing new to it. What
can't be seen (the size of glasses that are not worn) is read as its mean.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.errors import InputError
from loco.files import writing
from loco.scorers.reader import ARCHITECTURES, ReaderCard, write_reader
from loco.zoo.attributes import WORDS
from loco.zoo.faces import ATTRIBUTES, render, sample_attributes

BLOCK = 512
"""Faces rendered at a time."""

STATE = "reader.pt"
UNSEEN = 2**31 + 17
"""Second seed of the faces that the reader is measured on; blocks of training faces count from 0."""

_LOW = torch.tensor([one.low for one in ATTRIBUTES])
_RANGE = torch.tensor([one.high - one.low for one in ATTRIBUTES])


@dataclass(frozen=True)
class ReaderRecipe:
    """Everything that decides a reader's weights, up to floating-point order.

    Attributes:
        kind: Architecture, `residual` or `plain`.
        widths: Channels at each resolution, finest first, then the hidden layer's.
        size: Height and width of the images.
        images: Images drawn in training.
        batch: Images a step.
        rate: Greatest learning rate of AdamW; it warms up and falls as a cosine.
        pool: Faces kept to draw from.
        reuse: How often a face is drawn before a fresh one takes its place, on average.
        seed: Of faces, noise and first weights.
    """

    kind: str = "residual"
    widths: tuple[int, ...] = (24, 48, 96, 160, 192)
    size: int = 32
    images: int = 1_000_000
    batch: int = 128
    rate: float = 2e-3
    pool: int = 16384
    reuse: int = 3
    seed: int = 0


RECIPES = {
    "reader": ReaderRecipe(seed=101),
    "judge": ReaderRecipe(kind="plain", widths=(48, 64, 128, 192, 160), seed=7919),
}
"""The two that ship: one scores, the other judges what was found with the first."""


def normalised(attributes: Tensor) -> Tensor:
    """Attributes [B, A] as fractions of their ranges from the middle, -1/2 to 1/2."""
    return (attributes - _LOW) / _RANGE - 0.5


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, 3, H, W] as denoisers give them back: a quarter as they are, others blurred or noisy or both."""
    count = len(images)
    draw = torch.rand((5, count, 1, 1, 1), generator=generator)
    soft = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    share = torch.where(draw[0] < 0.5, draw[1] * 0.8, 0)
    noise = torch.randn(images.shape, generator=generator)
    level = torch.where(draw[2] < 0.5, draw[3] * 0.12, 0)
    return torch.lerp(images, soft, share) + level * noise


class ReaderTrainer:
    """One training run in a folder: `reader.pt` to go on from, and the reader that it yields."""

    def __init__(self, recipe: ReaderRecipe, folder: Path, device: str = "cpu") -> None:
        if recipe.kind not in ARCHITECTURES:
            raise InputError(f"recipe: kind must be one of {', '.join(ARCHITECTURES)}, found {recipe.kind!r}")
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        self.card = ReaderCard(
            recipe.kind,
            recipe.size,
            recipe.widths,
            tuple(one.name for one in ATTRIBUTES),
            tuple(WORDS[one.name] for one in ATTRIBUTES),
        )
        torch.manual_seed(recipe.seed)
        self.network: torch.nn.Module = ARCHITECTURES[recipe.kind](self.card)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), recipe.rate, weight_decay=0.01)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.faces = torch.zeros((recipe.pool, 3, recipe.size, recipe.size), dtype=torch.uint8)
        self.truth = torch.zeros((recipe.pool, len(ATTRIBUTES)))
        self.images, self.blocks = 0, 0
        if (folder / STATE).exists():
            self._load(torch.load(folder / STATE, map_location=self.device, weights_only=True))
        first = max(0, self.blocks - recipe.pool // BLOCK)
        for block in range(first, max(self.blocks, recipe.pool // BLOCK)):
            self._render(block)

    def _load(self, state: dict[str, Any]) -> None:
        if state["recipe"] != asdict(self.recipe):
            raise InputError(f"{self.folder} holds a run of another recipe: choose another folder")
        if state["images"] > self.recipe.images:
            raise InputError(f"{self.folder} is of {state['images']} images already: choose another folder")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.images, self.blocks = state["images"], state["blocks"]

    def save(self) -> None:
        """Write `reader.pt` beside and rename."""
        state = {
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "images": self.images,
            "blocks": self.blocks,
        }
        with writing(self.folder / STATE) as file:
            torch.save(state, file)

    def _render(self, block: int) -> None:
        rng = np.random.default_rng([self.recipe.seed, block])
        values = sample_attributes(rng, BLOCK)
        start = block * BLOCK % self.recipe.pool
        pixels = torch.from_numpy(render(values, self.recipe.size)).permute(0, 3, 1, 2)
        self.faces[start : start + BLOCK] = pixels
        self.truth[start : start + BLOCK] = torch.from_numpy(values)
        self.blocks = block + 1

    def _rate(self) -> float:
        done = self.images / self.recipe.images
        return (
            self.recipe.rate * min(1.0, 50 * done + 0.01) * 0.5 * (1 + float(np.cos(np.pi * min(done, 1.0))))
        )

    def step(self) -> float:
        """One step; returns its loss: the mean squared error in standard deviations of each attribute."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        chosen = torch.randint(len(self.faces), (self.recipe.batch,), generator=self.generator)
        shown = augmented(self.faces[chosen].float() / 127.5 - 1, self.generator)
        found = self.network(shown.to(self.device).contiguous(memory_format=torch.channels_last))
        # Ranges are some 3.5 standard deviations wide.
        loss = 12 * (found - normalised(self.truth[chosen]).to(self.device)).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.images += self.recipe.batch
        fresh = self.images // (BLOCK * self.recipe.reuse) + self.recipe.pool // BLOCK
        if fresh > self.blocks:
            self._render(self.blocks)
        return float(loss.item())

    def run(
        self, checkpoint_seconds: float = 60.0, progress: Callable[[int], None] | None = None
    ) -> Iterator[dict[str, float]]:
        """Train until the planned images; yields a line at each checkpoint. `progress` is told of images."""
        self.network.train()
        losses: list[float] = []
        last = time.monotonic()
        while self.images < self.recipe.images:
            losses.append(self.step())
            if progress is not None:
                progress(self.recipe.batch)
            now = time.monotonic()
            if now - last > checkpoint_seconds or self.images >= self.recipe.images:
                self.save()
                yield {
                    "images": self.images,
                    "loss": round(sum(losses) / len(losses), 4),
                    "rate": round(len(losses) * self.recipe.batch / (now - last)),
                }
                losses.clear()
                last = time.monotonic()

    def measured(self, count: int = 2048) -> tuple[float, ...]:
        """R^2 of each attribute over faces that training never saw."""
        self.network.eval()
        rng = np.random.default_rng([self.recipe.seed, UNSEEN])
        values = sample_attributes(rng, count)
        truth = normalised(torch.from_numpy(values))
        pixels = torch.from_numpy(render(values, self.recipe.size)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            found = torch.cat([self.network(part.to(self.device)).cpu() for part in pixels.split(256)])
        spread = (truth - truth.mean(0)).square().mean(0)
        r2 = 1 - (found - truth).square().mean(0) / spread
        return tuple(round(float(value), 4) for value in r2)

    def export(self, path: Path) -> ReaderCard:
        """Write the reader with its R^2 to `path`; returns its card."""
        card = replace(
            self.card, r2=self.measured(), training=asdict(self.recipe) | {"widths": [*self.recipe.widths]}
        )
        write_reader(path, self.network, card)
        return card
