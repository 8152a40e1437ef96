"""Training of an embedded denoiser on endless rendered scenes.

The network is an ordinary diffusers `UNet2DModel` predicting v = sqrt(a) eps - sqrt(1-a) x0 (Salimans & Ho, arXiv
2202.00512) under the cosine schedule (Nichol & Dhariwal, arXiv 2102.09672), a = alpha_bar(t). Steps are drawn from
Beta(2, 2) over the schedule, because edits are made in its middle. The learning rate warms up, stays, and decays over
the last part of the planned images, so that a run may be stopped anywhere and be resumed with another plan.
What is kept is the exponential moving average of the weights.
"""

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from numpy.typing import NDArray

from loco.errors import InputError
from loco.files import filling, sweep, writing
from loco.zoo.subject import Subject
from loco.zoo.subjects import SUBJECTS

logger = logging.getLogger(__name__)

BLOCK = 512
"""Scenes rendered at a time."""

GROUPS = 4
"""Groups of the normalisation."""

HEAD = 32
"""Width of an attention head, where the network is that wide."""

STATE = "state.pt"
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides the trained weights, up to floating-point order on the device.

    Attributes:
        size: Height and width of the images in pixels.
        channels: Width of the network at each resolution, finest first.
        images: Planned number of training images; the learning rate's decay ends there.
        batch: Images a step.
        rate: Peak learning rate of AdamW.
        decay: Last fraction of the plan over which the rate falls to zero.
        pool: Scenes kept to draw from.
        reuse: How often a rendered scene is drawn before a fresh one takes its place, on average.
        ema: Decay of the moving average of the weights.
        seed: Seed of scenes, noise and initial weights.
        subject: What is rendered, of `loco.zoo.subjects`.
    """

    size: int = 32
    channels: tuple[int, ...] = (24, 48, 96, 192)
    images: int = 200_000
    batch: int = 16
    rate: float = 1e-3
    decay: float = 0.3
    pool: int = 8192
    reuse: int = 3
    ema: float = 0.999
    seed: int = 0
    subject: str = "faces"

    def __post_init__(self) -> None:
        """Refuse values outside their ranges; normalise lists (from TOML) to tuples."""
        if self.subject not in SUBJECTS:
            raise InputError(f"recipe: subject must be one of {', '.join(SUBJECTS)}, found {self.subject!r}")
        try:
            object.__setattr__(self, "channels", tuple(self.channels))
        except TypeError as error:
            raise InputError(f"recipe: channels must be a list, found {self.channels!r}") from error
        whole = {name: getattr(self, name) for name in ("size", "images", "batch", "pool", "reuse")}
        for name, value in (
            whole | {f"channels[{i}]": width for i, width in enumerate(self.channels)}
        ).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"recipe: {name} must be a whole number of at least 1, found {value!r}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise InputError(f"recipe: seed must be a whole number of at least 0, found {self.seed!r}")
        for name, low, high in (("rate", 0, 1), ("decay", 0, 1), ("ema", 0, 1)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low < value <= high:
                raise InputError(f"recipe: {name} must lie in ({low}, {high}], found {value!r}")
        if (
            not self.channels
            or any(width % GROUPS for width in self.channels)
            or self.channels[-1] % self.head
        ):
            raise InputError(
                f"recipe: channels must be multiples of {GROUPS}, the last one up to {HEAD} or a multiple of it, "
                f"found {self.channels!r}"
            )
        if self.size % 2 ** (len(self.channels) - 1):
            raise InputError(
                f"recipe: size must be a multiple of {2 ** (len(self.channels) - 1)} for {len(self.channels)} "
                f"resolutions, found {self.size!r}"
            )
        if self.pool % BLOCK:
            raise InputError(f"recipe: pool must be a multiple of {BLOCK}, found {self.pool!r}")

    @property
    def head(self) -> int:
        """Width of an attention head."""
        return min(HEAD, self.channels[-1])


def build_train_recipe(values: dict[str, Any]) -> TrainRecipe:
    """A recipe from plain values; raises `InputError` for a name that it does not have, or a bad value."""
    known = [field.name for field in fields(TrainRecipe)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"recipe: unknown name {unknown[0]!r}; known are {', '.join(known)}")
    return TrainRecipe(**values)


def make_network(recipe: TrainRecipe) -> UNet2DModel:
    """The untrained network: convolutions at all resolutions, attention at the coarsest only."""
    levels = len(recipe.channels)
    return UNet2DModel(
        sample_size=recipe.size,
        in_channels=3,
        out_channels=3,
        block_out_channels=recipe.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        attention_head_dim=recipe.head,
        norm_num_groups=GROUPS,
    )


def make_scheduler() -> DDPMScheduler:
    """Cosine schedule of 1000 steps, v-prediction, no clipping of x0 (clipping would break linearity)."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
    )


def rendered_block(subject: str, seed: int, block: int, size: int) -> NDArray[np.uint8]:
    """Block number `block` of a run's scenes, [BLOCK, size, size, 3]: a function of its arguments."""
    one = SUBJECTS[subject]
    return one.render(one.sample(np.random.default_rng([seed, block]), BLOCK), size)


class ScenePool:
    """Rendered scenes as uint8 [pool, 3, H, W], the oldest replaced block by block; a function of (seed, blocks).

    With `workers`, so many processes render the blocks that come next.
    """

    def __init__(self, recipe: TrainRecipe, blocks: int = 0, device: str = "cpu", workers: int = 0) -> None:
        self.recipe = recipe
        self.blocks = max(0, blocks - recipe.pool // BLOCK)
        self.images = torch.zeros(
            (recipe.pool, 3, recipe.size, recipe.size), dtype=torch.uint8, device=device
        )
        self.workers = workers
        self.executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
        self.coming: deque[Future[NDArray[np.uint8]]] = deque()
        while self.blocks < max(blocks, recipe.pool // BLOCK):
            self.refresh()

    def close(self) -> None:
        """End the processes that render."""
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)

    def refresh(self) -> None:
        """Put the next block in place of the oldest."""
        start = self.blocks * BLOCK % self.recipe.pool
        pixels = torch.from_numpy(self._next()).permute(0, 3, 1, 2)
        self.images[start : start + BLOCK] = pixels.to(self.images.device)
        self.blocks += 1

    def _next(self) -> NDArray[np.uint8]:
        asked = self.recipe.subject, self.recipe.seed
        if self.executor is None:
            return rendered_block(*asked, self.blocks, self.recipe.size)
        while len(self.coming) < 2 * self.workers:
            number = self.blocks + len(self.coming)
            self.coming.append(self.executor.submit(rendered_block, *asked, number, self.recipe.size))
        return self.coming.popleft().result()

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Random scenes in [-1, 1], [count, 3, H, W], half of the batches mirrored."""
        place = self.images.device
        chosen = self.images[torch.randint(len(self.images), (count,), generator=generator, device=place)]
        mirrored = torch.rand((), generator=generator, device=place) < 0.5
        return torch.where(mirrored, chosen.flip(-1), chosen).float() / 127.5 - 1


def explained_variance(
    network: torch.nn.Module, alpha_bar: torch.Tensor, x0: torch.Tensor, steps: tuple[int, ...], seed: int = 0
) -> list[float]:
    """1 - MSE(x0_hat) / variance of `x0` [B, 3, H, W] about its mean image, one figure for each training step."""
    generator = torch.Generator().manual_seed(seed)
    variance = (x0 - x0.mean(0)).pow(2).mean()
    figures = []
    for step in steps:
        a = alpha_bar[step].to(x0)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator).to(x0)
        with torch.inference_mode():
            v = torch.cat(
                [network(part, torch.tensor(step, device=x0.device)).sample for part in torch.split(x_t, 32)]
            )
        x0_hat = a.sqrt() * x_t - (1 - a).sqrt() * v
        figures.append(1 - ((x0_hat - x0).pow(2).mean() / variance).item())
    return figures


class Trainer:
    """One training run in a folder: `state.pt` to resume from, `curve.jsonl`, and the pipeline it yields."""

    def __init__(self, recipe: TrainRecipe, folder: Path, device: str = "cpu") -> None:
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        torch.manual_seed(recipe.seed)
        self.network = make_network(recipe).to(self.device)
        self.scheduler = make_scheduler()
        self.alpha_bar = self.scheduler.alphas_cumprod.to(self.device)
        self.weights = list(self.network.parameters())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, recipe.rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.images, self.seconds, blocks = 0, 0.0, 0
        state_file = folder / STATE
        if state_file.exists():
            blocks = self._load(torch.load(state_file, map_location=self.device, weights_only=True))
        # A processor trains slower than one renders; an accelerator does not.
        workers = 0 if self.device.type == "cpu" else max(1, (os.cpu_count() or 1) - 2)
        self.pool = ScenePool(recipe, blocks, device, workers)

    def _load(self, state: dict[str, Any]) -> int:
        wanted = {key: asdict(self.recipe)[key] for key in ("size", "channels", "seed", "subject")}
        found = {key: state["recipe"].get(key, TrainRecipe.subject) for key in wanted}
        if found != wanted:
            raise InputError(f"{self.folder} holds a run of {found}, not {wanted}: choose another folder")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)
        if state.get("device", "cpu") == self.device.type:
            self.generator.set_state(state["generator"].cpu())
        else:  # states of one kind of device mean nothing to another
            self.generator.manual_seed(self.recipe.seed + state["images"])
        self.images, self.seconds = state["images"], state["seconds"]
        return int(state["blocks"])

    def save(self) -> None:
        """Write `state.pt` beside and rename, so that a kill leaves the old one."""
        state = {
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "generator": self.generator.get_state(),
            "images": self.images,
            "seconds": self.seconds,
            "device": self.device.type,
            "blocks": self.pool.blocks,
        }
        sweep(self.folder, deep=False)
        with writing(self.folder / STATE) as file:
            torch.save(state, file)

    def _rate(self) -> float:
        warm = min(1.0, (self.images + self.recipe.batch) / 5000)
        left = max(0.0, 1 - self.images / self.recipe.images)
        return self.recipe.rate * warm * min(1.0, left / self.recipe.decay)

    def step(self) -> torch.Tensor:
        """One step on a fresh batch; returns its loss, a scalar on the device: whoever reads it waits for the step."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        x0 = self.pool.draw(recipe.batch, self.generator)
        # Beta(2, 2) by rejection-free order statistics: the median of three uniforms.
        level = torch.rand((recipe.batch, 3), generator=self.generator, device=self.device).median(1).values
        step = (level * len(self.alpha_bar)).long()
        noise = torch.randn(x0.shape, generator=self.generator, device=self.device)
        a = self.alpha_bar[step].view(-1, 1, 1, 1)
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        target = a.sqrt() * noise - (1 - a).sqrt() * x0
        loss = (self.network(x_t, step).sample - target).pow(2).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        count = self.images // recipe.batch
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1 - min(recipe.ema, (1 + count) / (10 + count)))
        self.images += recipe.batch
        while self.images // (BLOCK * recipe.reuse) > self.pool.blocks - recipe.pool // BLOCK:
            self.pool.refresh()
        return loss.detach()

    def averaged(self) -> UNet2DModel:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network = make_network(self.recipe).to(self.device)
        with torch.no_grad():
            for weight, average in zip(network.parameters(), self.average, strict=True):
                weight.copy_(average)
        return network.eval()

    def run(
        self, *, checkpoint_seconds: float = 240.0, progress: Callable[[int], None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Train until the planned images; yields a line of the curve at each checkpoint.

        `progress` is told the number of images after each step.
        """
        rng = np.random.default_rng([self.recipe.seed, 2**31])
        subject: Subject = SUBJECTS[self.recipe.subject]
        held_out = torch.from_numpy(subject.render(subject.sample(rng, 64), self.recipe.size)).permute(
            0, 3, 1, 2
        )
        x0 = (held_out.float() / 127.5 - 1).to(self.device)
        self.network.train().to(memory_format=torch.channels_last)
        losses: list[torch.Tensor] = []
        started = last = time.monotonic()
        before = self.seconds
        while self.images < self.recipe.images:
            losses.append(self.step())
            if progress is not None:
                progress(self.recipe.batch)
            now = time.monotonic()
            if now - last > checkpoint_seconds or self.images >= self.recipe.images:
                self.seconds, last = before + now - started, now
                self.save()
                line = {
                    "images": self.images,
                    "seconds": round(self.seconds),
                    "loss": round(float(torch.stack(losses).mean()), 5),
                    "explained": explained_variance(self.averaged(), self.alpha_bar, x0, (500, 600, 700)),
                }
                losses.clear()
                with (self.folder / CURVE).open("a") as file:
                    file.write(json.dumps(line) + "\n")
                yield line

    def export(self, folder: Path) -> None:
        """Write the averaged network as a diffusers `DDPMPipeline` folder, float16 safetensors."""
        pipeline = DDPMPipeline(unet=self.averaged().half(), scheduler=self.scheduler)
        with filling(folder) as beside:
            pipeline.save_pretrained(beside, safe_serialization=True)


def saved_recipe(folder: Path) -> TrainRecipe | None:
    """The recipe of the run in a folder, or None where there is none."""
    state = _saved_state(folder)
    return None if state is None else build_train_recipe(state["recipe"])


def training_facts(folder: Path) -> dict[str, Any]:
    """What a model card says of the run in a folder: recipe, images, steps, seconds, device and curve.

    The device is that of the last checkpoint, None where it was not noted. Raises `InputError` without a run.
    """
    state = _saved_state(folder)
    if state is None:
        raise InputError(f"{folder} holds no {STATE}; train first, with `loco zoo train --out {folder}`")
    recipe = state["recipe"]
    curve = folder / CURVE
    lines = curve.read_text(encoding="utf-8").splitlines() if curve.exists() else []
    return {
        "recipe": recipe | {"channels": list(recipe["channels"])},
        "images": state["images"],
        "steps": state["images"] // recipe["batch"],
        "seconds": round(state["seconds"]),
        "device": state.get("device"),
        "curve": [json.loads(line) for line in lines if line.strip()],
    }


def _saved_state(folder: Path) -> dict[str, Any] | None:
    file = folder / STATE
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return state
