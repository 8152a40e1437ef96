"""Directions toward a scorer's numbers on the embedded model: what they do by a second scorer that never saw them.

    python benchmarks/toward.py [SOURCES] [HELD_OUT]

For each attribute of the renderer that is of a region, the direction toward it in that region is made of the gradients
of `zoo:reader` on some faces, as `loco discover --toward` does (`loco.toward`), and added to and taken from others at
an equal RMS change in the region. `zoo:judge` reads all attributes before and after. Prints a row for each attribute:
its own change, the next largest, their ratio, and the largest changes of hair; then how many move most.
"""

import json
import sys

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.codec import seen
from loco.edit import change
from loco.inversion import invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.linalg.projection import project_out
from loco.linalg.stacked import Stacked
from loco.opening import open_model
from loco.scorers.opening import open_scorer
from loco.toward import pulled_towards
from loco.zoo.attributes import REGION
from loco.zoo.faces import Faces, faces

T, STEPS, NULL = 0.4, 10, 5
TARGET = 0.2
"""RMS change in the region, in units of [-1, 1], that every direction is given, at the median face."""


def signal(drawn: Faces) -> Tensor:
    """Faces [B, 3, H, W] in [-1, 1]."""
    return (torch.from_numpy(drawn.images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def main(sources: int, held_out: int) -> None:
    """Print the table."""
    denoiser = open_model("zoo:faces32", device="cpu")
    reader, judge = open_scorer("zoo:reader"), open_scorer("zoo:judge")
    f = seen(denoiser, T)
    drawn = faces(77, sources, 32)
    points = invert(denoiser, signal(drawn), T, STEPS, complete=False).x_t
    operators = [JacobianOperator(f, x_t) for x_t in points]
    names = [name for name, region in REGION.items() if region]
    regions = sorted({REGION[name] for name in names})
    rows = {
        region: [torch.from_numpy(mask).expand(3, 32, 32).flatten() for mask in drawn.masks[region]]
        for region in regions
    }
    requests = [Rows(~torch.cat(rows[region]), NULL) for region in regions]
    solved = row_svds(Stacked(operators), requests, tol=0.05, max_rounds=20)
    rest = dict(zip(regions, solved.triplets, strict=True))
    others = faces(555, held_out, 32)
    x0 = signal(others)
    path = invert(denoiser, x0, T, STEPS)
    wins, hairless = 0, True
    for name in names:
        region, score = REGION[name], reader.one(name)
        pulls = [
            pulled_towards(operator, f, x_t[None], [mask if mask.any() else None], score)[0][0]
            for operator, x_t, mask in zip(operators, points, rows[region], strict=True)
        ]
        mean = torch.stack([pull for pull in pulls if bool(pull.any())]).mean(0)
        left = project_out(mean[None] / mean.norm(), rest[region].right)[0]
        vector = (left / left.norm()).view(3, 32, 32)
        here = torch.from_numpy(others.masks[region]).float()[:, None]
        kept = here.sum((1, 2, 3)) > 0
        with torch.no_grad():
            response = (f(path.x_t + vector) - f(path.x_t - vector)) / 2
        size = ((response * here).square().sum((1, 2, 3)) / (3 * here.sum((1, 2, 3))).clamp_min(1)).sqrt()
        strength = TARGET / float(size[kept].median())
        added, taken = (x0 + change(denoiser, path, sign * strength * vector) for sign in (1, -1))
        with torch.inference_mode():
            read = (judge(added.clamp(-1, 1)) - judge(taken.clamp(-1, 1)))[kept].mean(0).numpy() / 2
        own, size_of = float(read[judge.column(name)]), np.abs(read)
        size_of[judge.column(name)] = 0
        following = judge.names[int(size_of.argmax())]
        hair = max(
            float(size_of[judge.column(one)]) for one in names if REGION[one] == "hair" and one != name
        )
        outside = (added - x0).square().mean(1, keepdim=True)
        in_hair = torch.from_numpy(others.masks["hair"]).float()[:, None]
        pixels = float((outside * in_hair).sum().div(in_hair.sum()).sqrt())
        wins += own > size_of.max()
        if region == "mouth":
            hairless &= hair < abs(own)
        print(
            json.dumps(
                {
                    "attribute": name,
                    "region": region,
                    "coherence": round(float(mean.norm()), 3),
                    "own": round(own, 3),
                    "next": following,
                    "next_change": round(float(size_of.max()), 3),
                    "ratio": round(own / float(size_of.max()), 2),
                    "hair": round(hair, 3),
                    "hair_pixels": round(pixels, 4),
                }
            ),
            flush=True,
        )
    print(json.dumps({"attributes": len(names), "move_most": int(wins), "mouth_moves_no_hair": hairless}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [int(word) for word in sys.argv[1:3]]
    main(*(given or (16, 24)))
