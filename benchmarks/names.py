"""Names of directions on the embedded model against the renderer's truth.

    python benchmarks/names.py [SOURCES] [HELD_OUT] [SEED]

The leading directions of mouth, eyes and hair over some faces are named by `zoo:reader` as `loco directions name` does,
on other faces whose attributes are known. The truth is least squares on the renderer's own Jacobian at those attributes
(`loco.zoo.attributes`); no network has part in it. A name agrees where what it says first is one of the three
attributes that truly move most, and moves the way it is said, with an interval over images that excludes 0. Prints a
row for each direction, and how many agree; the same for `zoo:judge` in place of the truth.
"""

import json
import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.codec import seen
from loco.edit import change
from loco.inversion import invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.linalg.projection import canonical_sign, project_out
from loco.linalg.stacked import Stacked
from loco.measure.meaning import Moved, Name, moved, named
from loco.opening import open_model
from loco.scorers.opening import open_scorer
from loco.zoo.attributes import attribute_change, jacobian
from loco.zoo.faces import Faces, faces

T, STEPS, RANK, NULL = 0.4, 10, 4, 5
SEED = 9077
"""Of the faces; the criterion was chosen on others (seeds 77 and 556)."""

REGIONS = ("mouth", "eyes", "hair")
TARGET = 0.175
"""RMS change in the region at which names are read: half of what is recommended (`flows.studies.naming.GENTLE`)."""

FIRST = 3
"""A name agrees if what it says first is among so many that truly move most."""


def signal(drawn: Faces) -> Tensor:
    """Faces [B, 3, H, W] in [-1, 1]."""
    return (torch.from_numpy(drawn.images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def agrees(name: Name, truth: list[Moved]) -> bool:
    """Whether what a name says first is among what moves most, and moves so."""
    first = name.parts[0]
    most = sorted(truth, key=lambda one: -abs(one.change))[:FIRST]
    return any(
        one.name == first.name and one.change * first.change > 0 and one.low * one.high > 0 for one in most
    )


def main(sources: int = 16, held_out: int = 24, seed: int = SEED) -> None:
    """Print the table."""
    denoiser = open_model("zoo:faces32", device="cpu")
    reader, judge = open_scorer("zoo:reader"), open_scorer("zoo:judge")
    f = seen(denoiser, T)
    drawn = faces(seed, sources, 32)
    points = invert(denoiser, signal(drawn), T, STEPS, complete=False).x_t
    masks = [
        torch.cat([torch.from_numpy(mask).expand(3, 32, 32).flatten() for mask in drawn.masks[region]])
        for region in REGIONS
    ]
    requests = [Rows(mask, RANK) for mask in masks] + [Rows(~mask, NULL) for mask in masks]
    solved = row_svds(
        Stacked([JacobianOperator(f, x_t) for x_t in points]), requests, tol=0.05, max_rounds=20
    )
    others = faces(seed + 1, held_out, 32)
    x0 = signal(others)
    path = invert(denoiser, x0, T, STEPS)
    known = [jacobian(row, 32) for row in others.attributes]
    counts = {"named": 0, "truth": 0, "judge": 0}
    for number, region in enumerate(REGIONS):
        rest = solved.triplets[len(REGIONS) + number].right
        left = project_out(solved.triplets[number].right, rest)
        here = torch.from_numpy(others.masks[region]).float()[:, None]
        kept = (here.sum((1, 2, 3)) > 0).numpy()
        for index, vector in enumerate(canonical_sign(torch.nn.functional.normalize(left, dim=1))):
            v = vector.view(3, 32, 32)
            with torch.no_grad():
                response = (f(path.x_t + v) - f(path.x_t - v)) / 2
            size = ((response * here).square().sum((1, 2, 3)) / (3 * here.sum((1, 2, 3))).clamp_min(1)).sqrt()
            strength = TARGET / float(size[torch.from_numpy(kept)].median())
            edited = (x0 + change(denoiser, path, strength * v)).clamp(-1, 1)
            with torch.inference_mode():
                said, second = (
                    moved(scorer(x0).numpy()[kept], scorer(edited).numpy()[kept], scorer.names)
                    for scorer in (reader, judge)
                )
            rows = [known[k] for k in np.flatnonzero(kept)]
            true = _truth((edited - x0).numpy()[kept], others.attributes[kept], rows, reader.names)
            name = named(said, reader.words)
            counts["named"] += name is not None
            verdicts = {
                "truth": name is not None and agrees(name, true),
                "judge": name is not None and agrees(name, second),
            }
            for one, verdict in verdicts.items():
                counts[one] += verdict
            told = named(true, reader.words)
            print(
                json.dumps(
                    {
                        "direction": f"{region} {index}",
                        "strength": round(strength, 2),
                        "name": None if name is None else name.text,
                        "score": None if name is None else round(name.score, 2),
                        "truth": None if told is None else told.text,
                        "true_most": [
                            f"{one.name} {one.change:+.2f}"
                            for one in sorted(true, key=lambda one: -abs(one.change))[:FIRST]
                        ],
                        "agrees": verdicts,
                    }
                ),
                flush=True,
            )
    print(json.dumps({"directions": RANK * len(REGIONS)} | counts))


def _truth(
    changes: NDArray[np.float32],
    rows: NDArray[np.float32],
    columns: list[NDArray[np.float64]],
    names: tuple[str, ...],
) -> list[Moved]:
    """How the renderer's attributes moved, in units of their ranges."""
    found = [attribute_change(*one) for one in zip(changes, rows, columns, strict=True)]
    table = np.array([[one[name] for name in names] for one in found])
    return moved(np.zeros_like(table), table, names)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*(int(word) for word in sys.argv[1:4]))
