"""How fast bulk application is, against the bare network and against the reference's procedure, in one run.

The bare network is evaluated on random input at several batch sizes, and its best counts. The reference's procedure is
written from the paper's released code: one image at a time, inverted to pure noise, denoised to t, then five images
(both signs of two strengths, and none) denoised to 0, written as one strip. It is given the same fast network and the
same grid of levels, and none of that code's detours through memory.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.apply.edits import ApplyChunk, Work
from flows.apply.stream import apply_chunk
from flows.device.models import device, open_fast
from flows.engine.watch import Silence, Watch
from flows.jobs import ApplyJob, DiscoverJob
from flows.register import dataset_record, model_record
from flows.start import run_here
from loco.diffusion.sampling import advance, invert, sample, steps_of
from loco.files import scratch, temporary, write_atomic
from loco.images import encode, from_model, read_image, to_model
from loco.measure.metrics import psnr
from loco.models.network import NetworkDenoiser
from loco.recipes import DiscoverRecipe
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry

BATCHES = (8, 16, 32, 64, 128)
BARE = 1024
"""Images that the bare network is timed on, before, between and after the runs."""
SEED = 2**21
STRIP = (-6.0, -3.0, 0.0, 3.0, 6.0)


@dataclass(frozen=True)
class Pass:
    """One run of bulk application.

    Attributes:
        seconds: Wall time of everything, planning and rows included.
        cpu_seconds: Processor time of the same, over all threads.
        images_a_second: Edited images.
        evaluations: Network evaluations an image.
        stages: Seconds of each stage; `decode` and `encode` are summed over threads and overlap with the others.
    """

    seconds: float
    cpu_seconds: float
    images_a_second: float
    evaluations: float
    stages: dict[str, float]


def bench_apply(
    images: int, steps: int, repeats: int, reference_images: int, watch: Watch | None = None
) -> dict[str, Any]:
    """Measure on the embedded model; returns plain data with ratios and their parts, medians over `repeats`."""
    watch = watch or Silence()
    with scratch(temporary("loco-bench")) as root:
        home = Home(root / "home")
        registry = Registry(home)
        model = model_record("faces", "zoo:faces32")
        registry.add_model(model)
        size, t = model.shape[1], model.recommended_t or 0.5
        watch.say(f"rendering {images} faces and finding two directions")
        for _ in write_scenes(root / "faces", SEED, images, size):
            pass
        for _ in write_scenes(root / "source", SEED - 1, 1, size, ("mouth", "hair")):
            pass
        registry.add_dataset(dataset_record("source", root / "source"))
        recipe = DiscoverRecipe(t=t, steps=steps, rank=1, null_rank=2, tol=0.2, max_rounds=4)
        job = DiscoverJob("faces", "source", ("mouth", "hair"), recipe)
        run_here(home, None, job)
        first, second = (registry.find(roi=roi, limit=1)[0].id for roi in ("mouth", "hair"))
        network = open_fast(model, "float32")
        whole = round(steps / t)  # the reference's grid goes on to pure noise with the same spacing
        bare: list[list[Speed]] = []
        ours, cached, theirs, short = [], [], [], []
        batch = 0
        for number in range(repeats):
            watch.say(f"round {number + 1} of {repeats}")
            mine = Home(root / f"home-{number}")
            _copy(home, mine)
            batch = batch or best_batch(network, t, size)
            speeds = [bare_throughput(network, t, size, batch, BARE)]
            ours.append(_pass(mine, root / f"first-{number}", first, root / "faces", steps))
            speeds.append(bare_throughput(network, t, size, batch, BARE))
            cached.append(_pass(mine, root / f"second-{number}", second, root / "faces", steps))
            speeds.append(bare_throughput(network, t, size, batch, BARE))
            bare.append(speeds)
            few = sorted((root / "faces").glob("*.png"))[:reference_images]
            vector = registry.vectors([registry.direction(first)])[0]
            theirs.append(reference(network, few, vector, t, whole, root / f"strips-{number}"))
            short.append(reference(network, few, vector, t, steps, root / f"short-{number}"))
            watch.advance()
        quality = _quality(network, sorted((root / "faces").glob("*.png"))[:32], t, steps, whole)
    busy = [_busy(one, speeds[:2], images) for one, speeds in zip(ours, bare, strict=True)]
    busy_cached = [_busy(one, speeds[1:], images) for one, speeds in zip(cached, bare, strict=True)]
    speeds_first = [Speed(one.images_a_second, images / one.cpu_seconds) for one in ours]
    speeds_second = [Speed(one.images_a_second, images / one.cpu_seconds) for one in cached]
    return {
        "images": images,
        "steps": steps,
        "t": t,
        "device": device(),
        "threads": torch.get_num_threads(),
        "bare_batch": batch,
        "repeats": repeats,
        "busy": statistics.median(wall for wall, _ in busy),
        "busy_cpu": statistics.median(cpu for _, cpu in busy),
        "busy_cached": statistics.median(wall for wall, _ in busy_cached),
        "busy_cached_cpu": statistics.median(cpu for _, cpu in busy_cached),
        **_times("times_reference", speeds_first, theirs),
        **_times("times_reference_of_as_many_steps", speeds_first, short),
        **_times("times_first", speeds_second, speeds_first),
        "reference_steps": whole,
        **quality,
        "rounds": [
            {
                "bare": [asdict(speed) for speed in speeds],
                "first": asdict(one),
                "second": asdict(two),
                "reference": asdict(speed),
                "reference_of_as_many_steps": asdict(fewer),
            }
            for speeds, one, two, speed, fewer in zip(bare, ours, cached, theirs, short, strict=True)
        ],
    }


@dataclass(frozen=True)
class Speed:
    """How many a second of wall time, and of processor time, which tells on a machine that others use."""

    wall: float
    cpu: float


def best_batch(network: NetworkDenoiser, t: float, size: int) -> int:
    """The batch size at which the network alone is fastest."""
    return max(BATCHES, key=lambda batch: bare_throughput(network, t, size, batch, BARE // 4).wall)


def bare_throughput(network: NetworkDenoiser, t: float, size: int, batch: int, images: int) -> Speed:
    """The network alone, on random input, over that many images."""
    turns = max(2, images // batch)
    with torch.inference_mode():
        x = torch.randn(batch, 3, size, size, device=device())
        network.posterior_mean(x, t)
        started, worked = time.perf_counter(), time.process_time()
        for _ in range(turns):
            network.posterior_mean(x, t)
        if device() != "cpu":
            torch.cuda.synchronize()
        spent, cpu = time.perf_counter() - started, time.process_time() - worked
    return Speed(batch * turns / spent, batch * turns / cpu)


def reference(
    network: NetworkDenoiser,
    files: Sequence[Path],
    vector: np.ndarray[Any, np.dtype[np.float32]],
    t: float,
    steps: int,
    out: Path,
) -> Speed:
    """Images a second of the reference's procedure, from files to strips; `steps` from the image to pure noise."""
    v = torch.from_numpy(vector).to(device())
    started, worked = time.perf_counter(), time.process_time()
    for file in files:
        x0 = torch.from_numpy(to_model(read_image(file).pixels, network.shape[1:]))[None].to(device())
        with torch.inference_mode():
            x_t = _by_noise(network, x0, t, steps)
            strip = torch.cat([x_t + strength * v for strength in STRIP])
            done = _down(network, strip, t, steps)
        pixels = [from_model(one) for one in done.clamp(-1, 1).cpu().numpy()]
        write_atomic(out / file.name, encode(np.concatenate(pixels, axis=1), "png"))
    spent, cpu = time.perf_counter() - started, time.process_time() - worked
    return Speed(len(files) / spent, len(files) / cpu)


def _times(name: str, these: Sequence[Speed], those: Sequence[Speed]) -> dict[str, float]:
    """How many times as fast, as medians over the rounds: in wall time, and in processor time."""
    pairs = list(zip(these, those, strict=True))
    return {
        name: statistics.median(one.wall / other.wall for one, other in pairs),
        f"{name}_cpu": statistics.median(one.cpu / other.cpu for one, other in pairs),
    }


def _busy(one: Pass, speeds: Sequence[Speed], images: int) -> tuple[float, float]:
    """Which part of the bare network's throughput a run reached: in wall time, and in processor time.

    The bare network is what was measured just before and just after. Processor time tells on a machine that others use.
    """
    evaluations = one.evaluations * images
    wall = statistics.mean(1 / speed.wall for speed in speeds)
    cpu = statistics.mean(1 / speed.cpu for speed in speeds)
    return evaluations * wall / one.seconds, evaluations * cpu / one.cpu_seconds


def _levels(network: NetworkDenoiser, t: float, steps: int) -> tuple[list[float], int]:
    """The grid from the image to pure noise, and the place of the level nearest to t in it."""
    levels = network.schedule.grid(1.0, steps)
    return levels, min(range(len(levels)), key=lambda k: abs(levels[k] - t))


def _by_noise(network: NetworkDenoiser, x0: torch.Tensor, t: float, steps: int) -> torch.Tensor:
    """x_t by way of pure noise."""
    levels, place = _levels(network, t, steps)
    return _along(network, _along(network, x0, levels), levels[place:][::-1])


def _down(network: NetworkDenoiser, x_t: torch.Tensor, t: float, steps: int) -> torch.Tensor:
    levels, place = _levels(network, t, steps)
    return _along(network, x_t, levels[: place + 1][::-1])


def _along(network: NetworkDenoiser, x: torch.Tensor, levels: list[float]) -> torch.Tensor:
    for step in steps_of(network.schedule, levels):
        x = advance(step, x, network.posterior_mean(x, step.level), None)
    return x


def _quality(
    network: NetworkDenoiser, files: Sequence[Path], t: float, steps: int, whole: int
) -> dict[str, float]:
    """Median PSNR in dB of reconstructions: straight to t and back, and by way of pure noise."""
    x0 = torch.stack([torch.from_numpy(to_model(read_image(one).pixels, network.shape[1:])) for one in files])
    x0 = x0.to(device())
    with torch.inference_mode():
        straight = sample(network, invert(network, x0, t, steps), t, steps)
        detour = _down(network, _by_noise(network, x0, t, whole), t, whole)
        hasty = _down(network, _by_noise(network, x0, t, steps), t, steps)

    def median(found: torch.Tensor) -> float:
        pairs = zip(found.cpu().numpy(), x0.cpu().numpy(), strict=True)
        return statistics.median(psnr(one, two) for one, two in pairs)

    return {
        "psnr_straight": median(straight),
        "psnr_reference": median(detour),
        "psnr_reference_of_as_many_steps": median(hasty),
    }


def _pass(home: Home, out: Path, direction: str, images: Path, steps: int) -> Pass:
    stages: dict[str, float] = {}

    def work(chunk: ApplyChunk) -> Work:
        done = apply_chunk(chunk)
        for name, seconds in done.seconds.items():
            stages[name] = stages.get(name, 0.0) + seconds
        return done

    job = ApplyJob(((direction, 1.0),), (6.0,), out, images=images, steps=steps, min_effect=0.0, beyond=True)
    started, worked = time.perf_counter(), time.process_time()
    run = run_here(home, None, job, work=work)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    if run.status != "done":
        raise RuntimeError(f"the run ended as {run.status}: {run.counts}")
    count = run.counts["planned"]
    return Pass(seconds, cpu, count / seconds, run.counts["evaluations"] / count, stages)


def _copy(home: Home, other: Home) -> None:
    """A fresh home with the same models and directions, and no cache."""
    import shutil

    shutil.copytree(home.root, other.root, ignore=shutil.ignore_patterns("cache", "runs"))


def figures(result: dict[str, Any]) -> dict[str, str]:
    """The figures that matter, in words."""
    last = result["rounds"][-1]
    spent = last["first"]
    split = ", ".join(
        f"{name} {seconds / spent['seconds']:.0%}" for name, seconds in sorted(spent["stages"].items())
    )
    bare = statistics.median(speed["wall"] for one in result["rounds"] for speed in one["bare"])
    return {
        "images": f"{result['images']} at {result['steps']} steps, t = {result['t']:g}, on {result['device']}",
        "bare network": f"{bare:.0f} evaluations/s at its best batch, {result['bare_batch']}",
        "network busy": f"{result['busy']:.2f} of the bare network, {result['busy_cpu']:.2f} by processor time"
        f" ({spent['evaluations']:g} evaluations an image)",
        "and from the cache": f"{result['busy_cached']:.2f}, {result['busy_cached_cpu']:.2f} by processor time"
        f" ({last['second']['evaluations']:g} evaluations an image)",
        "edited": f"{statistics.median(one['first']['images_a_second'] for one in result['rounds']):.2f} images/s",
        "second direction": f"{result['times_first']:.2f} times as fast as the first,"
        f" {result['times_first_cpu']:.2f} by processor time",
        "reference": f"{statistics.median(one['reference']['wall'] for one in result['rounds']):.2f} images/s;"
        f" this is {result['times_reference']:.1f} times as fast,"
        f" {result['times_reference_cpu']:.1f} by processor time; with {result['steps']} steps in all"
        f" {result['times_reference_of_as_many_steps']:.1f} times,"
        f" at {result['psnr_reference_of_as_many_steps']:.1f} dB",
        "reconstruction": f"{result['psnr_straight']:.1f} dB straight, {result['psnr_reference']:.1f} dB the"
        f" reference's way ({result['reference_steps']} steps to pure noise)",
        "stages": split,
    }
