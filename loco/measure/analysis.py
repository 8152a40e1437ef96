"""What a model's Jacobians are like, level by level: the figures on which LOCO Edit rests, for any model.

With f the posterior mean at x_t and J its Jacobian, at each noise level t:

    rank ratio     fewest singular values that hold 0.99^2 of the squares' sum, over their number    Eq. 10
    trace          of J over its size: positive for a true posterior mean, whose J is a covariance
    asymmetry      ||J - J'||_F / ||J||_F, 0 for a true posterior mean                                Lemma 3
    norm ratio     ||f(x_t + l v)|| / ||f(x_t) + l J v||                                              Section 3
    cosine         between the same two, and between the changes f(x_t + l v) - f(x_t) and l J v
    reach          the RMS change in a region at the end of a direction's linear range

For a U-Net, with h the output of its middle block, the other Jacobians of the paper's Figure 12 as well: dh/dx, df/dh,
and those of the predicted noise, which follow: eps = (x_t - sqrt(a) f) / sqrt(1 - a), so

    d eps/dx = (I - sqrt(a) J) / sqrt(1 - a),    d eps/dh = - sqrt(a / (1 - a)) df/dh.

Each is taken at two kinds of points. At *inverted* images, where edits start; and, in the paper's protocol, at images
with fresh noise, 15 of them averaged: names that begin with `noised_`. The two are not alike, because the noise that
DDIM inversion finds is too small (`noise_size`; docs/method.md, "Where J is taken").

The recommended t is the middle of the levels at which a direction can make much of an edit before it stops being one
(`recommended`): the reach is flat there, and its greatest value falls now on one level, now on its neighbour. The
paper's 0.5 to 0.7 belongs to images of 256 pixels under linear schedules; by the signal-to-noise ratio an area it lies
lower for small images and cosine schedules.

Reference: LOCO Edit (Chen et al., 2024), Sections 3 and D, arXiv 2409.02374.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import invert
from loco.discover import discover
from loco.levels import log_snr
from loco.linalg.dense import asymmetry, dense_jacobian, energy, rank_ratio, squared_singular_values
from loco.linalg.jacobian import JacobianOperator
from loco.points import points
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

NOISED = 15
"""Points with fresh noise that figures are averaged over, as in the paper (Section D.1)."""

MUCH = 0.8
"""Levels with at least this fraction of the greatest reach are those that the recommended one is the middle of."""

DENSE = 4_096
"""Entries up to which whole Jacobians are formed: 32 x 32 in colour. Above, what needs them is left out."""

TOP = 20

Row = dict[str, Any]
Level = tuple[Row, list[Row]]
"""The row of a level, and its rows by strength."""


@dataclass(frozen=True)
class Asked:
    """What is measured at each level.

    Attributes:
        noised: Points with fresh noise, all images together.
        dense: Of these, how many have their whole Jacobian formed, where it is small enough, and so has the first
            image's inverted point; 0 for none.
        others: Whether those of the U-Net's middle block are, too.
        seed: Of the random direction.
        recipe: How directions are found, at whichever t; None for discovery's defaults.
    """

    noised: int = NOISED
    dense: int = 1
    others: bool = False
    seed: int = 0
    recipe: DiscoverRecipe | None = None


def analyze(
    denoiser: Denoiser,
    images: Sequence[Tensor],
    rois: Sequence[Sequence[Roi]],
    *,
    levels: Sequence[float] = LEVELS,
    asked: Asked = Asked(),
    progress: Callable[[int], None] | None = None,
    kept: Callable[[float, Callable[[], Level]], Level] = lambda _, measure: measure(),
) -> tuple[list[Row], list[Row], float]:
    """Rows by level, rows by level and strength, and the recommended t.

    Args:
        denoiser: The model.
        images: x0 [C, H, W] each, as the model takes them.
        rois: The regions of each image.
        levels: Noise levels t.
        asked: What is measured.
        progress: Told 1 for each level of each image.
        kept: Gives a level: what is known of it, or what the function beside it measures.
    """
    by_level: list[Row] = []
    by_strength: list[Row] = []
    for t in levels:
        row, strengths = kept(t, partial(_level, denoiser, images, rois, t, asked, progress))
        by_level.append(row)
        by_strength += strengths
    return by_level, by_strength, recommended(by_level)


def recommended(rows: Sequence[Row]) -> float:
    """The t in the middle of the levels with much reach, by how much more they have; to two digits.

    A level counts by how far its reach is above `MUCH` of the greatest, so that a small change of the figures moves the
    recommendation by little, and not from one level to the next.
    """
    most = max(float(row["reach"]) for row in rows)
    weights = [max(0.0, float(row["reach"]) - MUCH * most) for row in rows]
    if not sum(weights):  # no reach at all
        return float(rows[len(rows) // 2]["t"])
    middle = sum(weight * float(row["t"]) for weight, row in zip(weights, rows, strict=True)) / sum(weights)
    near = [float(row["t"]) for row in rows if abs(float(row["t"]) - middle) < 0.005]
    return near[0] if near else round(middle, 2)


def explained(rows: Sequence[Row], t: float) -> str:
    """Why that t is recommended, in words, from the rows by level."""
    best = max(rows, key=lambda row: float(row["reach"]))
    if not best["reach"]:
        return f"t = {t:g}: no direction found stays linear at any level that was looked at; look at others"
    held = [float(row["t"]) for row in rows if float(row["reach"]) >= MUCH * float(best["reach"])]
    where = f"at t = {held[0]:g}" if len(held) == 1 else f"from t = {min(held):g} to {max(held):g}"
    told = [
        f"t = {t:g}: {where} an edit can change a region by {float(best['reach']):.2g} RMS, or at least "
        f"{MUCH:.0%} of that, before it stops being linear; the recommended level is their middle"
    ]
    below = [row for row in rows if float(row["t"]) < min(held)]
    above = [row for row in rows if float(row["t"]) > max(held)]
    told += [f"at t = {row['t']:g} it is {float(row['reach']):.2g}" for row in (below[-1:] + above[:1])]
    near = min(rows, key=lambda row: abs(float(row["t"]) - t))
    if "noised_rank_ratio" in near:
        told.append(
            f"the rank ratio at t = {near['t']:g} is {near['noised_rank_ratio']:.2g} at points with fresh noise and "
            f"{near['rank_ratio']:.2g} at inverted images"
        )
    return "; ".join(told)


def _level(
    denoiser: Denoiser,
    images: Sequence[Tensor],
    rois: Sequence[Sequence[Roi]],
    t: float,
    asked: Asked,
    progress: Callable[[int], None] | None,
) -> Level:
    """The row of one level, and its rows by strength."""
    recipe = DiscoverRecipe(t=t) if asked.recipe is None else replace(asked.recipe, t=t)
    reaches, ranges, gains, sizes = [], [], [], []
    leaks: list[float] = []
    by_strength: list[Row] = []
    level = denoiser.schedule.at(t)
    signal, noise = denoiser.schedule.signal(t), denoiser.schedule.noise(t)
    row: Row = {"t": t, "step": denoiser.schedule.step(t), "alpha_bar": level, "log_snr": log_snr(level)}
    for number, (x0, regions) in enumerate(zip(images, rois, strict=True)):
        x_t = invert(denoiser, x0[None], t, recipe.steps)[0]
        sizes.append(float(((x_t - signal * x0) / noise).double().square().mean().sqrt()))
        basis = discover(denoiser, x_t, regions, recipe, model="", image_id="")
        for one in basis.directions:
            entries = one.roi_area * math.prod(codec_of(denoiser).image_shape)
            ranges.append(one.linear_range or 0.0)
            reaches.append((one.linear_range or 0.0) * one.gain / math.sqrt(entries))
            leaks += [] if one.leakage is None else [one.leakage]
            gains.append(one.gain)
        if number == 0:
            found = torch.from_numpy(basis.vectors[:1].copy())
            by_strength = _strengths(denoiser, x_t, t, found, asked.seed)
            if asked.dense and x_t.numel() <= DENSE:
                row |= _whole(denoiser, x_t, t, others=asked.others)
            if asked.noised:
                at = _noised(denoiser, images, recipe, asked.noised)
                by_strength += _averaged([_strengths(denoiser, x, t, found, asked.seed) for x in at])
                if asked.dense and x_t.numel() <= DENSE:
                    wholes = [_whole(denoiser, x, t, others=False) for x in at[: asked.dense]]
                    row |= {f"noised_{name}": fmean(one[name] for one in wholes) for name in wholes[0]}
                    row["noised_points"] = len(wholes)
        if progress is not None:
            progress(1)
    names = ("reach", "linear_range", "leakage", "gain", "noise_size")
    for name, values in zip(names, (reaches, ranges, leaks, gains, sizes), strict=True):
        # No leakage at all would be the best there is: where none is known, nothing is said.
        row[name] = median(values) if values else None if name == "leakage" else 0.0
    return row, by_strength


def _noised(denoiser: Denoiser, images: Sequence[Tensor], recipe: DiscoverRecipe, count: int) -> Tensor:
    """So many points with fresh noise, of one image after the other, [count, C, H, W]."""
    each = -(-count // len(images))
    asked = replace(recipe, point="noised", draws=each)
    names = [f"{number:064x}" for number in range(len(images))]
    drawn = points(denoiser.schedule, torch.stack(list(images)), asked, names)
    return drawn.transpose(0, 1).flatten(0, 1)[:count]


def _averaged(rows: Sequence[Sequence[Row]]) -> list[Row]:
    """The means of rows by strength over points, told as those of `noised` points."""
    figures = ("norm_ratio", "cosine", "cosine_of_changes")
    return [
        same[0] | {name: fmean(one[name] for one in same) for name in figures} | {"point": "noised"}
        for same in zip(*rows, strict=True)
    ]


def _strengths(denoiser: Denoiser, x_t: Tensor, t: float, found: Tensor, seed: int) -> list[Row]:
    """Norm ratio and cosines over strengths, along the strongest direction found and along a random one."""
    f = seen(denoiser, t)
    operator = JacobianOperator(f, x_t)
    draw = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(seed)).to(x_t)
    rows = []
    with torch.no_grad():
        base = f(x_t[None]).flatten()
    for name, v in (("found", found.flatten().to(x_t)), ("random", draw.flatten())):
        if not v.numel():
            continue
        unit = v / v.norm()
        response = operator.mv(unit[None])[0]
        for strength in STRENGTHS:
            with torch.no_grad():
                value = f((x_t + strength * unit.view_as(x_t))[None]).flatten()
            line, moved = base + strength * response, value - base
            rows.append(
                {
                    "t": t,
                    "point": "inverted",
                    "direction": name,
                    "strength": strength,
                    "norm_ratio": float(value.norm() / line.norm()),
                    "cosine": _cosine(value, line),
                    "cosine_of_changes": _cosine(moved, response),
                }
            )
    return rows


def _whole(denoiser: Denoiser, x_t: Tensor, t: float, *, others: bool) -> Row:
    matrix = dense_jacobian(JacobianOperator(seen(denoiser, t), x_t, chunk=64))
    squares = squared_singular_values(matrix)
    row: Row = {"rank_ratio": rank_ratio(squares), "energy_top_20": energy(squares, TOP)}
    if len(matrix) != matrix.shape[1]:
        return row
    row["asymmetry"], row["trace"] = asymmetry(matrix), float(matrix.trace()) / len(matrix)
    a = denoiser.schedule.at(t)
    noise = (torch.eye(len(matrix)) - a**0.5 * matrix) / (1 - a) ** 0.5
    row["rank_ratio_eps_x"] = rank_ratio(squared_singular_values(noise))
    middle = getattr(getattr(denoiser, "network", None), "mid_block", None)
    if others and middle is not None:
        inward, outward = _through(denoiser, x_t, t, middle)
        row["rank_ratio_h_x"] = rank_ratio(squared_singular_values(inward))
        # d eps/dh is a multiple of df/dh: one spectrum, one rank.
        row["rank_ratio_x0_h"] = row["rank_ratio_eps_h"] = rank_ratio(squared_singular_values(outward))
        row["norm_x0_h"] = float(outward.norm())
    return row


def _through(denoiser: Denoiser, x_t: Tensor, t: float, middle: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """dh/dx and df/dh with h the middle block's output, x held fixed in the second."""
    kept: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        kept.append(output)

    def to_h(x: Tensor) -> Tensor:
        kept.clear()
        handle = middle.register_forward_hook(keep)
        try:
            denoiser.posterior_mean(x, t)
        finally:
            handle.remove()
        return kept[0]

    with torch.no_grad():
        h = to_h(x_t[None])[0]

    def from_h(given: Tensor) -> Tensor:
        handle = middle.register_forward_hook(lambda _module, _inputs, _output: given)
        try:
            return denoiser.posterior_mean(x_t.expand(len(given), *x_t.shape), t)
        finally:
            handle.remove()

    return (
        dense_jacobian(JacobianOperator(to_h, x_t, chunk=64)),
        dense_jacobian(JacobianOperator(from_h, h, chunk=64)),
    )


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()).clamp_min(1e-30))
