"""Adds the edit directions beside this file to an image, inside a diffusers pipeline; needs nothing else of theirs.

    python apply_direction.py MODEL IN.png OUT.png [--strength 4] [--direction ID]

or, where a pipeline is open already,

    edited = edit(pipeline, image, {"ID": 4.0})

It needs torch, diffusers, safetensors, numpy and Pillow. The image must be of the model's own size. It is inverted
straight to the directions' noise level, strength * direction is added there, and the difference to the unedited path is
followed back down and added to the image: with strength 0 that is the image itself.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parent


def directions(folder: Path = FOLDER) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The unit vectors [C, H, W] by id, and what must be known to add them: levels, and each one's own facts."""
    with safe_open(folder / "directions.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["loco"])
        return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118 (it is no dict)


def posterior_mean(network: Any, x: Tensor, level: dict[str, float], kind: str) -> Tensor:
    """What the network thinks the clean image is, at a level with its signal, noise and the time that it is told."""
    with torch.no_grad():
        time = torch.tensor(level["time"], device=x.device).expand(len(x))
        output: Tensor = network(x, time if level["time"] != int(level["time"]) else time.long()).sample
    output, signal, noise = output[:, : x.shape[1]], level["signal"], level["noise"]
    if kind == "epsilon":
        return (x - noise * output) / signal
    if kind == "v_prediction":
        return (signal * x - noise * output) / (signal**2 + noise**2)
    if kind == "sample":
        return output
    raise ValueError(f"prediction type: expected epsilon, v_prediction or sample, found {kind}")


def step(x: Tensor, mean: Tensor, here: dict[str, float], there: dict[str, float]) -> Tensor:
    """DDIM from one level to another."""
    keep = there["noise"] / here["noise"]
    return keep * x + (there["signal"] - keep * here["signal"]) * mean


def edit(pipeline: Any, image: Tensor, strengths: dict[str, float], folder: Path = FOLDER) -> Tensor:
    """The image [B, C, H, W] in [-1, 1] with each direction added at its strength; not clipped."""
    vectors, facts = directions(folder)
    network, levels, kind = pipeline.unet, facts["levels"], facts["prediction_type"]
    if image.shape[1:] != torch.Size(facts["shape"]):
        raise ValueError(f"expected an image of shape {facts['shape']}, found {list(image.shape[1:])}")
    x, points, means = image, [image], []
    for here, there in itertools.pairwise(levels):
        means.append(posterior_mean(network, x, here, kind))
        x = step(x, means[-1], here, there)
        points.append(x)
    means.append(posterior_mean(network, x, levels[-1], kind))
    added = sum(
        (strength * vectors[key].to(image) for key, strength in strengths.items()), torch.zeros_like(image[0])
    )
    delta = added.expand_as(image)
    for at in range(len(levels) - 1, 0, -1):
        moved = posterior_mean(network, points[at] + delta, levels[at], kind) - means[at]
        delta = step(delta, moved, levels[at], levels[at - 1])
    return image + delta


def main() -> None:
    """Edit one file."""
    parser = argparse.ArgumentParser(description="Adds an edit direction to an image.")
    for name in ("model", "image", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--strength", type=float, help="default: the one that suits the direction")
    parser.add_argument("--direction", metavar="ID", help="default: the first")
    given = parser.parse_args()
    from diffusers import DiffusionPipeline

    vectors, facts = directions()
    key = next(one for one in vectors if one.startswith(given.direction or ""))
    strength = facts["directions"][key]["strength"] if given.strength is None else given.strength
    pixels = np.asarray(Image.open(given.image).convert("RGB")).astype(np.float32)
    x = torch.from_numpy(pixels / np.float32(127.5) - np.float32(1)).permute(2, 0, 1)[None]
    pipeline = DiffusionPipeline.from_pretrained(given.model)
    pipeline.unet.eval()
    edited = edit(pipeline, x, {key: strength})[0].permute(1, 2, 0).double().numpy()
    shown = np.clip(np.rint((edited + 1) * 127.5), 0, 255).astype(np.uint8)
    Image.fromarray(shown).save(given.out)


if __name__ == "__main__":
    main()
