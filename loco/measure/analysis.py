"""What a model's Jacobians are like, level by level: the figures on which LOCO Edit rests, for any model.

With f the posterior mean at x_t and J its Jacobian, at each noise level t:

    rank ratio     fewest singular values that hold 0.99^2 of the squares' sum, over their number    Eq. 10
    asymmetry      ||J - J'||_F / ||J||_F, 0 for a true posterior mean                                Lemma 3
    norm ratio     ||f(x_t + l v)|| / ||f(x_t) + l J v||                                              Section 3
    cosine         between the same two, and between the changes f(x_t + l v) - f(x_t) and l J v
    reach          the RMS change in a region at the end of a direction's linear range

For a U-Net, with h the output of its middle block, the other Jacobians of the paper's Figure 12 as well: dh/dx, df/dh,
and those of the predicted noise, which follow: eps = (x_t - sqrt(a) f) / sqrt(1 - a), so

    d eps/dx = (I - sqrt(a) J) / sqrt(1 - a),    d eps/dh = - sqrt(a / (1 - a)) df/dh.

The recommended t is the level of the greatest median reach: how much of an edit a direction can make before it stops
being one. The paper's 0.5 to 0.7 belongs to images of 256 pixels under linear schedules; by the signal-to-noise ratio
an area it lies lower for small images and cosine schedules.

Reference: LOCO Edit (Chen et al., 2024), Sections 3 and D, arXiv 2409.02374.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
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
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

DENSE = 4_096
"""Entries up to which whole Jacobians are formed: 32 x 32 in colour. Above, what needs them is left out."""

TOP = 20

Row = dict[str, Any]
Level = tuple[Row, list[Row]]
"""The row of a level, and its rows by strength."""


def analyze(
    denoiser: Denoiser,
    images: Sequence[Tensor],
    rois: Sequence[Sequence[Roi]],
    *,
    levels: Sequence[float] = LEVELS,
    dense: bool = True,
    others: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    kept: Callable[[float, Callable[[], Level]], Level] = lambda _, measure: measure(),
) -> tuple[list[Row], list[Row], float]:
    """Rows by level, rows by level and strength, and the recommended t.

    Args:
        denoiser: The model.
        images: x0 [C, H, W] each, as the model takes them.
        rois: The regions of each image.
        levels: Noise levels t.
        dense: Whether whole Jacobians of the first image are formed, where they are small enough.
        others: Whether those of the U-Net's middle block are, too.
        seed: Of the random direction.
        progress: Told 1 for each level of each image.
        kept: Gives a level: what is known of it, or what the function beside it measures.
    """
    by_level: list[Row] = []
    by_strength: list[Row] = []
    for t in levels:
        measure = partial(
            _level, denoiser, images, rois, t, dense=dense, others=others, seed=seed, progress=progress
        )
        row, strengths = kept(t, measure)
        by_level.append(row)
        by_strength += strengths
    return by_level, by_strength, max(by_level, key=lambda row: float(row["reach"]))["t"]


def _level(
    denoiser: Denoiser,
    images: Sequence[Tensor],
    rois: Sequence[Sequence[Roi]],
    t: float,
    *,
    dense: bool,
    others: bool,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Level:
    """The row of one level, and its rows by strength."""
    recipe = DiscoverRecipe(t=t)
    reaches, ranges, gains = [], [], []
    leaks: list[float] = []
    by_strength: list[Row] = []
    level = denoiser.schedule.at(t)
    row: Row = {"t": t, "step": denoiser.schedule.step(t), "alpha_bar": level, "log_snr": log_snr(level)}
    for number, (x0, regions) in enumerate(zip(images, rois, strict=True)):
        x_t = invert(denoiser, x0[None], t, recipe.steps)[0]
        basis = discover(denoiser, x_t, regions, recipe, model="", image_id="")
        for one in basis.directions:
            entries = one.roi_area * math.prod(codec_of(denoiser).image_shape)
            ranges.append(one.linear_range or 0.0)
            reaches.append((one.linear_range or 0.0) * one.gain / math.sqrt(entries))
            leaks += [] if one.leakage is None else [one.leakage]
            gains.append(one.gain)
        if number == 0:
            by_strength = _strengths(denoiser, x_t, t, torch.from_numpy(basis.vectors[:1].copy()), seed)
            if dense and x_t.numel() <= DENSE:
                row |= _whole(denoiser, x_t, t, others=others)
        if progress is not None:
            progress(1)
    names = ("reach", "linear_range", "leakage", "gain")
    for name, values in zip(names, (reaches, ranges, leaks, gains), strict=True):
        # No leakage at all would be the best there is: where none is known, nothing is said.
        row[name] = median(values) if values else None if name == "leakage" else 0.0
    return row, by_strength


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
    row["asymmetry"] = asymmetry(matrix)
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
