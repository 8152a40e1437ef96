"""Where the Jacobian is best taken: directions found at each kind of point, on faces that none was found on.

    python benchmarks/points.py measure T OUT [SOURCES TARGETS SEED KINDS]   a JSON line for each pair of faces
    python benchmarks/points.py table OUT...                                 what the lines come to

One level at a time; SEED is that of the source faces, KINDS are such as `inverted:1,noised:4`.

Each region's first direction of each source face is applied to each target face, from its inverted point, at the
strength at which the RMS change in the target's own region is `AIM`: two tries, the first from its first-order gain.
Of the change are told: leakage (RMS outside over RMS inside), its cosine to the mean change over the targets, and
whether the target responds at all (gain of at least 5 % of that at the source's inverted point). The table has medians
over the responding pairs, and in brackets what 95 % of 2,000 bootstrap samples over source and target faces say of the
quotient to the inverted point (of the difference, for cosine and share).
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.discover import discover
from loco.edit import change, first_order
from loco.inversion import InversionPath, invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.linalg.projection import project_out
from loco.linalg.stacked import Stacked
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.points import points
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.faces import Faces, faces

AIM = 0.1
REGIONS = ("mouth", "eyes", "hair")
KINDS = (
    ("inverted", 1),
    ("rescaled", 1),
    ("filled", 1),
    ("noised", 1),
    ("noised", 4),
    ("mean", 4),
)
"""Kinds of points and draws. `mean` is no point but another operator at `noised` ones: J itself averaged, not J'MJ."""

STEPS, SEED, HELD, RESPONDS = 5, 7_000_000, 7_001_000, 0.05

Line = dict[str, Any]


class Mean(Stacked):
    """The mean of several Jacobians: what a direction does alike at all their points."""

    def mv(self, v: Tensor) -> Tensor:
        """J v [k, M] for each row of v [k, D]."""
        return torch.stack([part.mv(v) for part in self.parts]).mean(dim=0)

    def rmv(self, u: Tensor) -> Tensor:
        """J' u [k, D] for each row of u [k, M]."""
        return torch.stack([part.rmv(u) for part in self.parts]).mean(dim=0)


def of_the_mean(
    denoiser: Any, at: Tensor, rois: list[Roi], recipe: DiscoverRecipe
) -> tuple[list[Tensor], int]:
    """The first direction [C, H, W] of each region for the mean Jacobian at points [K, C, H, W]; and evaluations."""
    operator = Mean([JacobianOperator(lambda x: denoiser.posterior_mean(x, recipe.t), x) for x in at])
    masks = [torch.from_numpy(roi.mask.copy()).expand(at[0].shape).flatten() for roi in rois]
    wanted = [Rows(mask, 1) for mask in masks] + [Rows(~mask, recipe.null_rank) for mask in masks]
    solution = row_svds(operator, wanted, tol=recipe.tol, max_rounds=recipe.max_rounds, grid=at[0].shape)
    found = [
        project_out(inside.right, outside.right)[0]
        for inside, outside in zip(
            solution.triplets[: len(rois)], solution.triplets[len(rois) :], strict=True
        )
    ]
    return [(v / v.norm()).reshape(at[0].shape) for v in found], operator.evaluations


def pictures(people: Faces) -> Tensor:
    """x0 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(people.images).permute(0, 3, 1, 2).float() / 127.5 - 1


def transferred(denoiser: Any, path: InversionPath, people: Faces, region: str, v: Tensor) -> Iterator[Line]:
    """How a direction [C, H, W] does on each face of a path."""
    masks = torch.from_numpy(people.masks[region].copy())[:, None].expand(path.x_t.shape)
    inside = masks.flatten(1).sum(dim=1)
    responses = first_order(denoiser, path, v)
    gains = (responses * masks).flatten(1).norm(dim=1)
    strengths = AIM * inside.sqrt() / gains.clamp_min(1e-6)
    for last in (False, True):
        delta = change(denoiser, path, strengths[:, None, None, None] * v)
        within = ((delta * masks).flatten(1).square().sum(dim=1) / inside).sqrt()
        if not last:
            strengths = strengths * (AIM / within.clamp_min(1e-6)).clamp(1 / 3, 3)
    outside = ((delta * ~masks).flatten(1).square().sum(dim=1) / (~masks).flatten(1).sum(dim=1)).sqrt()
    flat = torch.nn.functional.normalize(delta.flatten(1), dim=1)
    for k in range(len(path)):
        others = flat[torch.arange(len(flat)) != k].mean(dim=0)
        yield {
            "gain": float(gains[k]),
            "strength": float(strengths[k]),
            "inside": float(within[k]),
            "leakage": float(outside[k] / within[k].clamp_min(1e-6)),
            "cosine": float(flat[k] @ others / others.norm()),
        }


Kinds = tuple[tuple[str, int], ...]


def measure(t: float, out: Path, sources: int, targets: int, seed: int, kinds: Kinds) -> None:
    """All these kinds of points at one level."""
    torch.set_num_threads(1)
    card, denoiser = open_folder(model_folder("zoo:faces32"))
    found_on, held = faces(seed, sources, 32), faces(HELD, targets, 32)
    path = invert(denoiser, pictures(held), t, STEPS)
    recipe = DiscoverRecipe(t=t, rank=1, null_rank=5, ranged=False, tol=0.05, max_rounds=8)
    with out.open("w") as file:
        for i, x0 in enumerate(pictures(found_on)):
            own = invert(denoiser, x0[None], t, recipe.steps, complete=False)
            rois = [
                Roi(name, found_on.masks[name][i], "renderer")
                for name in REGIONS
                if found_on.masks[name][i].any()
            ]
            at_inverted = JacobianOperator(lambda x: denoiser.posterior_mean(x, t), own.x_t[0])
            for kind, draws in kinds:
                asked = replace(recipe, point="noised" if kind == "mean" else kind, draws=draws)
                name = f"{seed + i:064d}"
                if kind == "mean":
                    at = points(denoiser.schedule, x0[None], asked, (name,))[0]
                    vectors, evaluations = of_the_mean(denoiser, at, rois, asked)
                    found = list(zip((roi.name for roi in rois), vectors, strict=True))
                else:
                    basis = discover(denoiser, own, rois, asked, model=card.id, image_id=name)
                    evaluations = basis.evaluations
                    found = [
                        (one.roi, torch.from_numpy(basis.vectors[one.row].copy())) for one in basis.directions
                    ]
                for roi, v in found:
                    mask = torch.from_numpy(found_on.masks[roi][i].copy()).expand(v.shape).flatten()
                    gain = float(at_inverted.mv(v.flatten()[None])[0][mask].norm())
                    known = {
                        "t": t,
                        "kind": kind,
                        "draws": draws,
                        "source": seed + i,
                        "roi": roi,
                        "own": gain,
                    }
                    known["evaluations"] = evaluations
                    for k, line in enumerate(transferred(denoiser, path, held, roi, v)):
                        if held.masks[roi][k].any():
                            file.write(json.dumps(known | {"target": k} | line) + "\n")
                file.flush()


def table(paths: list[Path]) -> None:
    """Medians, and the intervals of the comparison with the inverted point, as Markdown."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    print(
        "| t | region | point | draws | sources | gain there | leakage | cosine | responding | evaluations |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for t in sorted({one["t"] for one in lines}):
        for roi in (*REGIONS, "all"):
            mine = [one for one in lines if one["t"] == t and roi in (one["roi"], "all")]
            for kind, draws in KINDS:
                chosen = [one for one in mine if (one["kind"], one["draws"]) == (kind, draws)]
                if not chosen:
                    continue
                found_on = {one["source"] for one in chosen}
                base = [one for one in mine if one["kind"] == "inverted" and one["source"] in found_on]
                cells = _row(_grid(chosen), None if kind == "inverted" else _grid(base))
                print(f"| {t:g} | {roi} | {kind} | {draws} | {len(found_on)} | " + " | ".join(cells) + " |")


Grid = dict[str, Any]


def _grid(lines: list[Line]) -> Grid:
    """Figures by region, source and target: [R, S, T], NaN where the region is not there; responding as 0 or 1."""
    names, sources = sorted({one["roi"] for one in lines}), sorted({one["source"] for one in lines})
    shape = (len(names), len(sources), 1 + max(one["target"] for one in lines))
    found = {name: np.full(shape, np.nan) for name in ("gain", "leakage", "cosine", "responding")}
    for one in lines:
        place = names.index(one["roi"]), sources.index(one["source"]), one["target"]
        responds = one["gain"] >= RESPONDS * one["own"]
        found["responding"][place] = responds
        for name in ("gain", "leakage", "cosine"):
            found[name][place] = one[name] if responds else np.nan
    evaluations = {one["source"]: one["evaluations"] for one in lines}
    return found | {"evaluations": float(np.mean(list(evaluations.values())))}


def _row(mine: Grid, base: Grid | None) -> list[str]:
    cells = []
    statistics: dict[str, tuple[Callable[..., Any], bool]] = {
        "gain": (np.nanmedian, True),
        "leakage": (np.nanmedian, True),
        "cosine": (np.nanmedian, False),
        "responding": (np.nanmean, False),
    }
    for name, (statistic, quotient) in statistics.items():
        value = float(statistic(mine[name]))
        text = f"{value:.3f}"
        if base is not None:
            low, high = _interval(mine[name], base[name], statistic, quotient)
            text += f" ({low:.2f} to {high:.2f})" if quotient else f" ({low:+.2f} to {high:+.2f})"
        cells.append(text)
    return [*cells, f"{mine['evaluations']:.0f}"]


def _interval(
    mine: np.ndarray, base: np.ndarray, statistic: Callable[..., Any], quotient: bool
) -> tuple[float, float]:
    random = np.random.default_rng(0)
    _, sources, targets = mine.shape
    found = []
    for _ in range(2000):
        some = np.ix_(
            np.arange(len(mine)), random.integers(0, sources, sources), random.integers(0, targets, targets)
        )
        one, other = statistic(mine[some]), statistic(base[some])
        found.append(one / other if quotient else one - other)
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def main(arguments: list[str]) -> None:
    """Run `measure` or `table`."""
    if arguments[0] == "table":
        table([Path(one) for one in arguments[1:]])
        return
    sources, targets = (int(one) for one in arguments[3:5]) if len(arguments) > 4 else (4, 8)
    seed = int(arguments[5]) if len(arguments) > 5 else SEED
    kinds: Kinds = KINDS
    if len(arguments) > 6:
        pairs = [one.split(":") for one in arguments[6].split(",")]
        kinds = tuple((name, int(draws)) for name, draws in pairs)
    measure(float(arguments[1]), Path(arguments[2]), sources, targets, seed, kinds)


if __name__ == "__main__":
    main(sys.argv[1:])
