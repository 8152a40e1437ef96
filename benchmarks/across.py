"""Directions of a dataset against those of its images, on images that neither came from.

    python benchmarks/across.py [--model zoo:faces32] [--sources 24] [--held 24] [--roi NAME]... [--point inverted]

Ways to a region's directions, from the same source scenes:

    single      one of each source; the median over the sources is (a)
    best        the source's whose first direction does best on a validation split, by gain over (1 + 5 leakage): (b)
    best_constrained   the same of constrained directions
    across      the dataset operator (`loco.across`), projected; and
    across_constrained   penalised by the rest in place of off it
    aligned     the sources' subspaces put together (`loco.aligned`): the largest group

The first direction of each is measured on held-out scenes that have the region: gain and leakage to first order, and
the leakage of the edit itself at an equal change in the region (an RMS of `CHANGE`, by each image's own first-order
response). Medians over the images with bootstrap intervals (95 %); the last column compares with `best` pair by pair.
JSON on standard output, a table on standard error.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.across import begun, shape_all, weights_of
from loco.aligned import Found, aligned
from loco.diffusion.codec import seen
from loco.discover import discover
from loco.edit import change
from loco.evidence import RESPONDS
from loco.inversion import InversionPath, invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.pooled import GRAIN, Pool, Sums, parts
from loco.linalg.stacked import stacked
from loco.measure import bootstrap
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.points import points
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.rois.rows import rows_of
from loco.shaping import leakage_of
from loco.zoo.subjects import subject_of

CHANGE = 0.15
"""RMS change in the region, in units of [-1, 1], at which edits are compared: seen, and within the linear range."""


class Images:
    """Scenes with their inversion paths and points, and the regions of each."""

    def __init__(self, denoiser: Any, subject: Any, seed: int, count: int, recipe: DiscoverRecipe) -> None:
        scenes = subject.scenes(seed, count, denoiser.shape[1])
        x0 = torch.from_numpy(scenes.images).permute(0, 3, 1, 2) / 127.5 - 1
        self.ids = [f"{seed:032x}{number:032x}" for number in range(count)]
        self.path: InversionPath = invert(denoiser, x0, recipe.t, recipe.steps)
        self.at = points(denoiser.schedule, x0, recipe, self.ids, self.path.x_t)
        self.masks = scenes.masks
        self.denoiser, self.recipe, self.shape = denoiser, recipe, denoiser.shape

    def __len__(self) -> int:
        return len(self.ids)

    def roi(self, name: str, number: int) -> Roi | None:
        """The scene's region, if it has it."""
        mask = self.masks[name][number]
        return Roi(name, mask, "renderer") if mask.any() else None

    def rows(self, name: str, number: int) -> Tensor | None:
        """Its rows of J."""
        roi = self.roi(name, number)
        return (
            None
            if roi is None
            else rows_of(roi, self.shape, torch.device("cpu")).repeat(len(self.at[number]))
        )

    def jacobian(self, number: int, at: Tensor | None = None) -> Any:
        """J at the recipe's points, or at others."""
        f = seen(self.denoiser, self.recipe.t)
        return stacked([JacobianOperator(f, x) for x in (self.at[number] if at is None else at)])


def singles(images: Images, name: str, recipe: DiscoverRecipe | None = None) -> tuple[list[Any], int]:
    """Discovery on each image by itself, and the evaluations."""
    found, spent = [], 0
    for number in range(len(images)):
        roi = images.roi(name, number)
        if roi is None:
            continue
        own = images.recipe if recipe is None else recipe
        basis = discover(
            images.denoiser, images.at[number], [roi], own, model="m", image_id=images.ids[number]
        )
        found.append(basis)
        spent += basis.evaluations
    return found, spent


def pooled(images: Images, name: str) -> tuple[Pool, int]:
    """The dataset operator's space, and the evaluations, inversions included."""
    recipe = images.recipe
    members = [n for n in range(len(images)) if images.roi(name, n) is not None]
    total, answers, spent = torch.zeros(1, dtype=torch.int64), list[tuple[float, ...]](), 0
    grid = (recipe.draws * images.shape[0], *images.shape[1:])
    for number in members:
        operator = images.jacobian(number)
        start, strengths = begun(operator, [images.rows(name, number)], recipe.seed, images.ids[number], grid)
        total = total + start
        answers.append(strengths)
        spent += operator.evaluations + images.recipe.steps
    weights = weights_of(answers)
    pool = Pool.begin((total.double() * GRAIN).float(), (recipe.rank, recipe.null_rank), recipe.tol)
    while len(pool.fresh) and pool.rounds < recipe.max_rounds:
        products = torch.zeros((2, 2, *pool.fresh.shape), dtype=torch.int64)
        counted = torch.zeros((2, 2), dtype=torch.float64)
        for k, number in enumerate(members):
            operator = images.jacobian(number)
            products[k % 2] += parts(operator, [images.rows(name, number)], pool.fresh, weights[k])
            counted[k % 2] += weights[k][0]
            spent += operator.evaluations
        pool = pool.extended(Sums(products, counted))
    return pool, spent


def put_together(bases: list[Any], recipe: DiscoverRecipe) -> tuple[Tensor, int]:
    """The first direction of the largest group, and the number of groups."""
    found = []
    for basis in bases:
        names = ("right.0", "values.0", "rest.0", "rest_values.0")
        right, values, rest, others = (torch.from_numpy(basis.arrays[one]).float() for one in names)
        found.append(Found(basis.image_id, right.flatten(1), values, rest.flatten(1), others))
    groups = aligned(found, recipe)
    return groups[0].vectors[0], len(groups)


def first_order(
    images: Images, name: str, vectors: Tensor
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Gain and leakage [n, N] at the inverted points, where edits start, of the images that have the region."""
    gains, leakages = [], []
    for number in range(len(images)):
        roi = images.roi(name, number)
        if roi is None:
            continue
        mask = rows_of(roi, images.shape, torch.device("cpu"))
        answer = images.jacobian(number, images.path.x_t[number : number + 1]).mv(vectors)
        gains.append([float(one[mask].norm()) for one in answer])
        leakages.append([leakage_of(one, mask) or 0.0 for one in answer])
    return np.array(gains).T, np.array(leakages).T


def edited(images: Images, name: str, vector: Tensor, gains: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Leakage of the edits themselves [N], NaN where an image does not respond; both signs, their mean."""
    own = [n for n in range(len(images)) if images.roi(name, n) is not None]
    found = []
    for gain, number in zip(gains, own, strict=True):
        roi = images.roi(name, number)
        assert roi is not None
        mask = rows_of(roi, images.shape, torch.device("cpu"))
        if gain < RESPONDS * float(np.median(gains)):
            found.append(float("nan"))
            continue
        strength = CHANGE * float(mask.sum()) ** 0.5 / gain
        path = images.path[number : number + 1]
        both = [
            change(images.denoiser, path, sign * strength * vector.reshape(images.shape)) for sign in (1, -1)
        ]
        found.append(float(np.mean([leakage_of(one[0].flatten(), mask) or 0.0 for one in both])))
    return np.array(found)


def interval(values: np.ndarray[Any, Any]) -> list[float]:
    """Median with its 95 % bootstrap interval over the images."""
    found = bootstrap.interval(values[np.isfinite(values)], "median")
    return [round(float(one), 4) for one in found]


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo:faces32")
    parser.add_argument("--sources", type=int, default=24)
    parser.add_argument("--held", type=int, default=24)
    parser.add_argument("--roi", action="append")
    parser.add_argument("--t", type=float)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--point", default="inverted")
    parser.add_argument("--draws", type=int, default=1)
    told = parser.parse_args()
    card, denoiser = open_folder(model_folder(told.model))
    subject = subject_of(card.extra.get("training", {}))
    recipe = DiscoverRecipe(
        t=told.t or card.extra.get("recommended_t", 0.5),
        steps=told.steps,
        point=told.point,
        draws=told.draws,
        ranged=False,
    )
    sources, validation, held = (
        Images(denoiser, subject, seed, count, recipe)
        for seed, count in ((501, told.sources), (502, max(4, told.held // 2)), (503, told.held))
    )
    for name in told.roi or subject.typical:
        begun_at = time.monotonic()
        bases, spent_singles = singles(sources, name)
        took = time.monotonic() - begun_at
        pool, spent_pool = pooled(sources, name)
        took_pool = time.monotonic() - begun_at - took
        group, groups = put_together(bases, recipe)
        vectors = torch.stack(
            [torch.from_numpy(one.vectors[0]).flatten() for one in bases if len(one.vectors)]
        )
        others = [
            torch.from_numpy(one.vectors[0]).flatten()
            for one in singles(sources, name, _constrained(recipe))[0]
        ]
        ways = {
            "best": _best(validation, name, vectors),
            "best_constrained": _best(validation, name, torch.stack(others)),
            "across": shape_all(pool, recipe, [name]).vectors[0],
            "across_constrained": shape_all(pool, _constrained(recipe), [name]).vectors[0],
            "aligned": group,
        }
        some = vectors[:: max(1, len(vectors) // 6)][:6]
        gains, leakages = first_order(held, name, torch.cat([torch.stack(list(ways.values())), vectors]))
        edits = {way: edited(held, name, vector, gains[k]) for k, (way, vector) in enumerate(ways.items())}
        row: dict[str, Any] = {"model": told.model, "roi": name, "point": told.point, "t": recipe.t}
        row["sources"], row["held"], row["groups"] = len(bases), gains.shape[1], groups
        row["evaluations"] = {"singles": spent_singles, "across": spent_pool}
        row["seconds"] = {"singles": round(took, 1), "across": round(took_pool, 1)}
        rest = slice(len(ways), None)
        few = [
            edited(held, name, one, gains[len(ways) + k * max(1, len(vectors) // 6)])
            for k, one in enumerate(some)
        ]
        row["single"] = {
            "gain": interval(np.median(gains[rest], 0)),
            "leakage": interval(np.median(leakages[rest], 0)),
            "edited": interval(np.nanmedian(np.stack(few), 0)),
            "responds": _responds(np.median(gains[rest], 0)),
        }
        for k, way in enumerate(ways):
            row[way] = {
                "gain": interval(gains[k]),
                "leakage": interval(leakages[k]),
                "edited": interval(edits[way]),
                "responds": _responds(gains[k]),
                "gain_over_best": interval(gains[k] / gains[0]),
                "edited_over_best": interval(edits[way] / edits["best"]),
            }
        print(json.dumps(row), flush=True)
        _table(row)


def _constrained(recipe: DiscoverRecipe) -> DiscoverRecipe:
    from dataclasses import replace

    return replace(recipe, method="constrained")


def _best(validation: Images, name: str, vectors: Tensor) -> Tensor:
    gains, leakages = first_order(validation, name, vectors)
    return vectors[int(np.argmax(np.median(gains, 1) / (1 + 5 * np.median(leakages, 1))))]


def _responds(gains: np.ndarray[Any, Any]) -> float:
    return float((gains >= RESPONDS * np.median(gains)).mean())


def _table(row: dict[str, Any]) -> None:
    told = row["evaluations"]
    ratio = told["across"] / told["singles"]
    print(f"\n{row['roi']}: across takes {ratio:.2f} times the singles' evaluations", file=sys.stderr)
    for way in ("single", "best", "best_constrained", "across", "across_constrained", "aligned"):
        cells = [
            f"{name} {one[0]:.3f} ({one[1]:.3f} to {one[2]:.3f})"
            for name, one in row[way].items()
            if name != "responds"
        ]
        told = f"{'  '.join(cells)}  responds {row[way]['responds']:.0%}"
        print(f"  {way:<20}{told}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
