"""What an accelerator gives: each figure with the card's name beside the same on this machine's processor.

    python benchmarks/accelerator.py discover   `loco bench discover` on the embedded model, on card and processor
    python benchmarks/accelerator.py apply      `loco bench apply` on the embedded model, on the card
    python benchmarks/accelerator.py ddpm256    google/ddpm-celebahq-256's configuration, random weights
    python benchmarks/accelerator.py sd15       Stable Diffusion 1.5's configuration at 512, bfloat16, random weights
    python benchmarks/accelerator.py product    the command line on card and processor: seconds, ids, figures, images
    python benchmarks/accelerator.py forms      evaluations a second, the network as it is and compiled

One line of JSON on standard output. Random weights say nothing of images: of those two models only time and memory are
told, and discovery is given a fixed number of rounds, because their spectra are not those of trained networks.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.codec import Codec, seen
from loco.diffusion.schedule import Schedule
from loco.discover import discover
from loco.linalg.jacobian import JacobianOperator
from loco.models.autoencoder import Autoencoder
from loco.models.diffusers_folder import open_folder
from loco.models.inference import for_inference
from loco.models.network import differentiable, plain_attention
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi

DDPM256 = {
    "sample_size": 256,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
SD15 = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
ROUNDS = 4
GB = 1e9


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """The least time of some calls, after one that is not counted."""
    best = float("inf")
    for number in range(repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number:
            best = min(best, time.perf_counter() - started)
    return best


def boxes(size: int) -> list[Roi]:
    """Three regions about as large as a mouth, two eyes and hair are in a portrait."""
    found = []
    places = {
        "mouth": (0.62, 0.74, 0.36, 0.64),
        "eyes": (0.38, 0.48, 0.25, 0.75),
        "hair": (0.0, 0.25, 0.1, 0.9),
    }
    for name, (top, bottom, left, right) in places.items():
        mask = np.zeros((size, size), bool)
        mask[round(top * size) : round(bottom * size), round(left * size) : round(right * size)] = True
        found.append(Roi(name, mask, "benchmark"))
    return found


def products(denoiser: Any, t: float, x_t: Tensor, chunks: tuple[int, ...]) -> dict[str, Any]:
    """Seconds a vector of J v and of J' u by the number of vectors at a time, and the memory it takes."""
    found = {}
    for chunk in chunks:
        operator = JacobianOperator(seen(denoiser, t, decoded=False), x_t, chunk=chunk)
        v = torch.randn(chunk, x_t.numel(), device=x_t.device)
        torch.cuda.reset_peak_memory_stats()
        forward = seconds(partial(operator.mv, v), 2) / chunk
        back = seconds(partial(operator.rmv, v), 2) / chunk
        found[str(chunk)] = {
            "mv_ms": round(1e3 * forward, 2),
            "rmv_ms": round(1e3 * back, 2),
            "peak_gb": round(torch.cuda.max_memory_allocated() / GB, 2),
        }
        del operator
        torch.cuda.empty_cache()
    return found


def discovery(denoiser: Any, x_t: Tensor, rois: list[Roi], t: float, **knobs: Any) -> dict[str, Any]:
    """Seconds, products and peak memory of one discovery of a fixed number of rounds."""
    recipe = DiscoverRecipe(t=t, tol=1e-9, max_rounds=ROUNDS, ranged=False, **knobs)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    basis = discover(denoiser, x_t, rois, recipe, model="benchmark", image_id="0")
    torch.cuda.synchronize()
    return {
        "regions": len(rois),
        "seconds": round(time.perf_counter() - started, 2),
        "products": basis.products,
        "peak_gb": round(torch.cuda.max_memory_allocated() / GB, 2),
    }


def rate(
    run: Callable[[Tensor], Any], shape: tuple[int, ...], dtype: torch.dtype, batches: tuple[int, ...]
) -> Any:
    """Evaluations a second by batch size."""
    found = {}
    for batch in batches:
        x = torch.randn(batch, *shape, device="cuda", dtype=dtype)
        with torch.inference_mode():
            found[str(batch)] = round(batch / seconds(partial(run, x)), 1)
    return found


def bench_discover() -> dict[str, Any]:
    """The embedded model's discovery on card and processor."""
    from loco.measure.bench import bench_discover as measure
    from loco.models.source import model_folder
    from loco.zoo.faces import faces

    found: dict[str, Any] = {}
    rendered = faces(2**20, 1, 32)
    for place, names in (("cuda", ("mouth", "eyes", "hair")), ("cpu", ("mouth",))):
        card, denoiser = open_folder(model_folder("zoo:faces32"), device=place)
        x0 = torch.from_numpy(rendered.images[0]).permute(2, 0, 1).float().to(place) / 127.5 - 1
        recipe = DiscoverRecipe(t=card.recommended_t or 0.5)
        rois = [Roi(name, rendered.masks[name][0], "renderer") for name in names]
        result = measure(denoiser, x0, rois, recipe, lambda text: None)
        found[place] = {key: value for key, value in result.items() if key != "alone"}
    return found


def bench_apply() -> dict[str, Any]:
    """The embedded model's bulk application on the card."""
    from flows.studies.bench_apply import bench_apply as measure

    return measure(images=1024, steps=10, repeats=1, reference_images=4)


def ddpm256() -> dict[str, Any]:
    """A pixel model of real size."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    with torch.device("cuda"):
        unet = UNet2DModel(**DDPM256)
    found: dict[str, Any] = {"parameters": sum(one.numel() for one in unet.parameters())}
    with TemporaryDirectory() as folder:
        DDPMPipeline(unet=unet, scheduler=DDPMScheduler(prediction_type="sample")).save_pretrained(folder)
        del unet
        started = time.perf_counter()
        _, denoiser = open_folder(Path(folder), device="cuda")
        found["open_seconds"] = round(time.perf_counter() - started, 2)
        x_t, t = torch.randn(denoiser.shape, device="cuda"), 0.6
        found["products"] = products(denoiser, t, x_t, (1, 4, 16, 32))
        found["discovery"] = discovery(denoiser, x_t, boxes(256), t)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            _, one = open_folder(Path(folder), device="cuda", dtype=dtype)
            fast = for_inference(one)
            found[f"evaluations_a_second_{name}"] = rate(
                partial(fast.posterior_mean, t=t), denoiser.shape, dtype, (1, 16, 64)
            )
    return found


class Latent:
    """Stable Diffusion's posterior mean under one condition of random numbers, with its decoder."""

    def __init__(self, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel

        torch.manual_seed(0)
        with torch.device("cuda"):
            unet: Any = UNet2DConditionModel(**SD15)
            vae: Any = AutoencoderKL(**VAE)
        self.network = differentiable(unet.to(dtype)).eval().requires_grad_(False)
        vae = differentiable(vae.to(dtype)).eval().requires_grad_(False)
        self.name, self.shape = "sd-1.5", (4, 64, 64)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.schedule = Schedule("scaled_linear", (1 - betas).cumprod(0))
        self.codec: Codec = Autoencoder(vae, (3, 512, 512))
        self.words = torch.randn(1, 77, 768, device="cuda", dtype=dtype)

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """The network's output, as a network that predicts x0 would give it."""
        time_step = torch.tensor(self.schedule.step(t), device=x_t.device)
        words = self.words.expand(len(x_t), -1, -1)
        with plain_attention():
            output: Tensor = self.network(x_t, time_step, encoder_hidden_states=words).sample
        return output


def sd15() -> dict[str, Any]:
    """A latent model of real size, in bfloat16."""
    denoiser = Latent(torch.bfloat16)
    found: dict[str, Any] = {"weights_gb": round(torch.cuda.memory_allocated() / GB, 2)}
    x_t, t = torch.randn(denoiser.shape, device="cuda").bfloat16(), 0.6
    found["products"] = products(denoiser, t, x_t, (1, 8, 25))
    found["cells"] = discovery(denoiser, x_t, boxes(512), t, rows="cells")
    found["pixels"] = discovery(denoiser, x_t, boxes(512)[:1], t, rows="pixels")
    found["evaluations_a_second"] = rate(
        partial(denoiser.posterior_mean, t=t), denoiser.shape, torch.bfloat16, (1, 8, 32)
    )
    return found


def command(home: Path, place: str, *words: object) -> tuple[float, str]:
    """Run the command line on `cuda` or `cpu`: seconds and its standard output."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if place == "cpu" else {}
    environment = os.environ | hidden | {"LOCO_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.perf_counter()
    line = [sys.executable, "-m", "cli.main", *map(str, words)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} on {place}: {done.returncode}\n{done.stderr[-2000:]}")
    spent = round(time.perf_counter() - started, 1)
    sys.stderr.write(f"{place}: {' '.join(map(str, words[:2]))}, {spent} s\n")
    return spent, done.stdout


def product() -> dict[str, Any]:
    """Every step from a dataset to edited images, by the command line."""
    from loco.images import read_image
    from registry.home import Home
    from registry.registry import Registry

    found: dict[str, Any] = {"cuda": {}, "cpu": {}}
    directions, edited = {}, {}
    regions = [word for roi in ("mouth", "eyes", "hair") for word in ("--roi", roi)]
    asked = ("discover", "--model", "faces", "--dataset", "faces", *regions, "--limit", 16)
    with TemporaryDirectory() as folder:
        for place, told in found.items():
            home, out = Path(folder) / place, Path(folder) / f"out-{place}"
            command(home, place, "zoo", "render", "--out", Path(folder) / "faces", "--count", 512, "--masks")
            command(home, place, "model", "add", "faces", "zoo:faces32")
            command(home, place, "dataset", "add", "faces", Path(folder) / "faces")
            command(home, place, "server", "start")
            try:
                told["discover, 16 images"], _ = command(home, place, *asked)
                told["across, 16 images"], _ = command(home, place, *asked, "--across")
                mine = Registry(Home(home)).find(dataset="faces")
                directions[place] = {one.id: one for one in mine}
                wide = [one for one in mine if one.scope == "dataset"]
                chosen = [word for one in wide for word in ("--direction", one.id)]
                words = ("score", *chosen, "--dataset", "faces", "--skip", 16, "--limit", 80)
                told["score, 64 images"], _ = command(home, place, *words)
                words = ("directions", "name", "--dataset", "faces", "--scope", "dataset", "--limit", 3)
                told["name, 3 directions"], _ = command(home, place, *words, "--scorer", "zoo:reader")
                best = min((one for one in wide if one.roi == "mouth"), key=lambda one: one.id)
                words = ("apply", "--direction", f"{best.id}:4", "--dataset", "faces", "--steps", 10)
                told["apply, 512 images"], _ = command(home, place, *words, "--out", out)
            finally:
                command(home, place, "server", "stop")
            edited[place] = {one.name: read_image(one).pixels for one in sorted(out.glob("*.png"))}
    here, there = directions["cpu"], directions["cuda"]
    errors = [
        float(np.square(one / 255.0 - edited["cuda"][name] / 255.0).mean())
        for name, one in edited["cpu"].items()
    ]
    return found | {
        "directions": len(here),
        "ids_alike": here.keys() == there.keys(),
        "edits_alike": edited["cpu"].keys() == edited["cuda"].keys(),
        "least_psnr": round(float(-10 * np.log10(max(max(errors), 1e-12))), 1),
        "greatest_difference_of_gain": round(
            max(abs((there[key].gain or 0) / (one.gain or 1) - 1) for key, one in here.items()), 4
        ),
    }


def forms() -> dict[str, Any]:
    """What compiling the network would give: evaluations a second, and seconds that compiling takes."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    from loco.models.source import model_folder

    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        with torch.device("cuda"):
            unet = UNet2DModel(**DDPM256)
        DDPMPipeline(unet=unet, scheduler=DDPMScheduler(prediction_type="sample")).save_pretrained(folder)
        del unet
        sources = {"faces32": (model_folder("zoo:faces32"), (16, 256)), "ddpm256": (Path(folder), (1, 16))}
        for name, (source, batches) in sources.items():
            for dtype in (torch.float32, torch.bfloat16):
                told = found.setdefault(f"{name} {str(dtype).partition('.')[2]}", {})
                for form, options in (
                    ("eager", None),
                    ("compiled", {}),
                    ("compiled, graphs", {"mode": "reduce-overhead"}),
                ):
                    _, denoiser = open_folder(source, device="cuda", dtype=dtype)
                    fast = for_inference(denoiser)
                    if options is not None:
                        network: Any = fast.network
                        network.compile(dynamic=False, **options)
                    started = time.perf_counter()
                    told[form] = rate(
                        partial(fast.posterior_mean, t=0.4), denoiser.shape, torch.float32, batches
                    )
                    told[form]["seconds"] = round(time.perf_counter() - started, 1)
                    torch._dynamo.reset()
    return found


SECTIONS = {
    "discover": bench_discover,
    "apply": bench_apply,
    "ddpm256": ddpm256,
    "sd15": sd15,
    "product": product,
    "forms": forms,
}


def main(arguments: list[str]) -> int:
    """Run the sections named."""
    if not arguments or set(arguments) - set(SECTIONS):
        sys.stderr.write(f"expected one or more of {', '.join(SECTIONS)}\n")
        return 2
    if not torch.cuda.is_available():
        sys.stderr.write("there is no CUDA device on this machine\n")
        return 1
    for name in arguments:
        found = {
            "section": name,
            "card": torch.cuda.get_device_name(),
            "torch": torch.__version__,
        } | SECTIONS[name]()
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
