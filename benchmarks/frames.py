"""How much an edit of a video flickers: python benchmarks/frames.py [FRAMES].

A rendered face turns and moves slowly. A direction is found on its first frame and applied to all, each inverted by
itself, as `loco apply` does it. Beside it what frames could share: the noise of x_t (the mean over all frames, or
over three neighbours), and the change itself averaged over three neighbours. Flicker is the mean change of the change
between neighbouring frames over that of the video; `like` the cosine to the change of each frame by itself, `local`
the RMS change outside over that inside of the region.
"""

import sys

import numpy as np
import torch

from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import sample
from loco.discover import discover
from loco.edit import change, first_order
from loco.images import to_model
from loco.inversion import invert
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.faces import attributes, render_faces

REGIONS = ("mouth", "eyes", "hair")
TARGET = 0.12
"""RMS change inside the region of the first frame."""


def frames(count: int) -> tuple[torch.Tensor, list[dict[str, np.ndarray]]]:
    """Faces [B, 3, 32, 32] that turn and drift, and their masks."""
    turn = np.linspace(-1, 1, count)
    rows = np.concatenate(
        [attributes(yaw=12 * float(a), shift_x=0.05 * float(a), mouth_openness=0.4) for a in turn]
    )
    drawn = render_faces(rows, 32)
    masks = [{name: drawn.masks[name][k] for name in REGIONS} for k in range(count)]
    return torch.stack([torch.from_numpy(to_model(one, (32, 32))) for one in drawn.images]), masks


def moved(values: torch.Tensor) -> float:
    """Mean change between neighbouring frames."""
    return float((values[1:] - values[:-1]).abs().mean())


def neighbours(values: torch.Tensor) -> torch.Tensor:
    """Means over three neighbours; at the ends the last one counts twice."""
    padded = torch.cat([values[:1], values, values[-1:]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def main(count: int) -> None:
    """Print the table."""
    _, model = open_folder(model_folder("zoo:faces32"))
    images, masks = frames(count)
    t = 0.4
    signal, noise = model.schedule.signal(t), model.schedule.noise(t)
    print("| region | steps | what is shared | flicker | like | local |\n|---|---|---|---|---|---|")
    for region in REGIONS:
        rois = [Roi(region, one[region], "rendered") for one in masks]
        inside = torch.from_numpy(np.stack([roi.mask for roi in rois]))[:, None].expand_as(images)
        for steps in (3, 6, 20):
            path = invert(model, images, t, steps)
            recipe = DiscoverRecipe(t=t, rank=1, null_rank=5)
            basis = discover(model, path.x_t[0], rois[:1], recipe, model="faces32", image_id="0" * 64)
            vector = torch.from_numpy(basis.vectors[:1].copy())
            response = first_order(model, path[0:1], vector)
            scale = TARGET / response[inside[:1]].square().mean().sqrt()
            push = (scale * vector).expand_as(images)
            alone = change(model, path, push)
            eps = (path.x_t - signal * images) / noise
            for name, shared in (
                ("nothing", None),
                ("noise, of three", neighbours(eps)),
                ("noise, of all", eps.mean(0, keepdim=True).expand_as(eps)),
                ("the change, of three", "change"),
            ):
                if shared is None:
                    found = alone
                elif isinstance(shared, str):
                    found = neighbours(alone)
                else:
                    found = _change_at(model, signal * images + noise * shared, push, t, steps)
                like = torch.nn.functional.cosine_similarity(found.flatten(1), alone.flatten(1)).mean()
                rms = [float(found[one].square().mean().sqrt()) for one in (inside, ~inside)]
                print(
                    f"| {region} | {steps} | {name} | {moved(found) / moved(images):.3f} | {like:.3f} | "
                    f"{rms[1] / rms[0]:.3f} |",
                    flush=True,
                )


def _change_at(model: Denoiser, x_t: torch.Tensor, push: torch.Tensor, t: float, steps: int) -> torch.Tensor:
    """The change of images that are sampled from x_t, with and without the push."""
    return sample(model, x_t + push, t, steps) - sample(model, x_t, t, steps)


if __name__ == "__main__":
    torch.manual_seed(0)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
