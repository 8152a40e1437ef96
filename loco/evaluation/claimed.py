"""What is measured of the paper's claims on one image: rows of plain data, each a figure at a setting.

A row has `figure`, `setting`, `image`, `roi`, `value`, `asked` (whether the claim speaks of that setting) and `x`, the
place on the axis where the figure is a curve.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.codec import Pixels, codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.edit import change
from loco.errors import InputError
from loco.evaluation.claims import Bars
from loco.evaluation.edits import Judge, edited
from loco.evaluation.judging import most_changed
from loco.evaluation.methods import find
from loco.inversion import InversionPath, invert
from loco.levels import log_snr
from loco.linalg.dense import dense_jacobian, rank_ratio, squared_singular_values
from loco.linalg.jacobian import JacobianOperator
from loco.measure.analysis import DENSE
from loco.measure.metrics import cosine
from loco.points import points
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi

SHARES = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the range, at which edits are looked at."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What all measurements share.

    Attributes:
        denoiser: The model.
        judge: Images to readings; None for place alone.
        spread: Standard deviation of each reading over images, [N].
        errors: The judge's typical error of each, [N].
        things: Columns of each region's own things, where they are known.
        recipe: Level, rank, null rank.
        bars: Sizes and bars.
        steps: Of the solver.
        target, longest, alike, reached: Of `loco.evaluation.protocol`.
    """

    denoiser: Denoiser
    judge: Judge | None
    spread: NDArray[np.floating]
    errors: NDArray[np.floating]
    things: Mapping[str, Sequence[int]]
    recipe: DiscoverRecipe
    bars: Bars
    steps: int
    target: float
    longest: float
    alike: float
    reached: float


@dataclass(frozen=True)
class Face:
    """An image: its id, its pixels [1, 3, H, W] in [-1, 1], its complete path (a batch of one), and its regions."""

    id: str
    pixels: Tensor
    path: InversionPath
    rois: tuple[Roi, ...]


def repeated(path: InversionPath, count: int) -> InversionPath:
    """The path of one image, so many times."""
    return replace(
        path,
        points=path.points.expand(count, *path.points.shape[1:]),
        means=path.means.expand(count, *path.means.shape[1:]),
    )


def firsts(asked: Asked, x_t: Tensor, face: Face, t: float, null_rank: int) -> dict[str, Tensor]:
    """The first direction of each region at a point x_t [C, H, W]; without those of which nothing was left."""
    recipe = replace(asked.recipe, t=t, rank=1, null_rank=null_rank)
    found = find("loco", asked.denoiser, x_t, face.rois, recipe, face.id).vectors
    return {name: vectors[0] for name, vectors in found.items() if len(vectors)}


def of_level(asked: Asked, face: Face, own: dict[str, Tensor], *, dense: bool) -> list[Row]:
    """Rank and linearity at the paper's levels, at noised points, and beside them at the image's own x_t."""
    rows: list[Row] = []
    for alpha_bar in asked.bars.levels:
        try:
            t = asked.denoiser.schedule.nearest(f"abar:{alpha_bar!r}")
        except InputError:  # the model's schedule does not reach it
            continue
        recipe = replace(asked.recipe, t=t, point="noised", draws=1)
        x_t = points(asked.denoiser.schedule, face.path.points[:, 0], recipe, [face.id])[0, 0]
        found = firsts(asked, x_t, face, t, asked.recipe.null_rank)
        rows += _at_point(
            asked, face, x_t, t, found, f"alpha_bar {alpha_bar:g}, noised", dense=dense, claimed=True
        )
    t, setting = face.path.t, "own level, inverted"
    return rows + _at_point(asked, face, face.path.x_t[0], t, own, setting, dense=dense, claimed=False)


def _at_point(
    asked: Asked,
    face: Face,
    x_t: Tensor,
    t: float,
    found: dict[str, Tensor],
    setting: str,
    *,
    dense: bool,
    claimed: bool,
) -> list[Row]:
    rows: list[Row] = []
    f = seen(asked.denoiser, t)
    operator = JacobianOperator(f, x_t, chunk=64)

    def row(figure: str, where: str, value: float, roi: str | None = None, *, counts: bool = claimed) -> None:
        rows.append(_row(face, figure, where, value, roi, asked=counts))

    if dense and x_t.numel() <= DENSE and isinstance(codec_of(asked.denoiser), Pixels):
        row("rank_ratio", setting, rank_ratio(squared_singular_values(dense_jacobian(operator))))
    with torch.no_grad():
        base = f(x_t[None]).flatten()
    draw = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(0)).to(x_t)
    tried: list[tuple[str, str | None, Tensor]] = [("a random direction", None, draw / draw.norm())]
    tried += [("directions found", name, unit) for name, unit in found.items()]
    for kind, name, unit in tried:
        where = f"{setting}, {kind}"
        response = operator.mv(unit.flatten()[None])[0]
        with torch.no_grad():
            value = f((x_t + asked.bars.strength * unit)[None]).flatten()
        line = base + asked.bars.strength * response
        row("cosine", where, cosine(_array(value), _array(line)), name)
        row("norm_ratio", where, abs(float(value.norm() / line.norm()) - 1), name)
        row("cosine_of_changes", where, cosine(_array(value - base), _array(response)), name, counts=False)
    return rows


def of_null_rank(asked: Asked, face: Face, own: dict[str, Tensor]) -> list[Row]:
    """Leakage of edits that change their regions equally, by how many directions of the rest are projected away."""
    rows: list[Row] = []
    leakage: dict[tuple[str, int], float] = {}
    rois = {roi.name: roi for roi in face.rois}
    for rank in asked.bars.null_ranks:
        known = rank == asked.recipe.null_rank
        found = own if known else firsts(asked, face.path.x_t[0], face, face.path.t, rank)
        for name, one in _edits(asked, face, found, rois).items():
            leakage[name, rank] = one.leakage
            rows.append(_row(face, "leakage", f"r' = {rank}", one.leakage, name, x=rank, asked=False))
    for name in rois:
        for figure, less, more in (("null_needed", 0, 5), ("null_enough", 5, 10)):
            if all(leakage.get((name, rank), 0) > 0 for rank in (less, more)):
                ratio = leakage[name, more] / leakage[name, less]
                rows.append(_row(face, figure, f"r' = {more} over r' = {less}", ratio, name))
    return rows


def _edits(
    asked: Asked, face: Face, found: dict[str, Tensor], rois: dict[str, Roi], sign: float = 1.0
) -> dict[str, Any]:
    """An edit of the image by each region's direction, at the target."""
    if not found:
        return {}
    names = list(found)
    path, own = repeated(face.path, len(names)), [rois[name] for name in names]
    stacked = torch.stack([found[name] for name in names])
    images = face.pixels.expand(len(names), *face.pixels.shape[1:])
    edits = edited(asked.denoiser, path, images, own, stacked, sign, asked.target, asked.longest, asked.judge)
    return dict(zip(names, edits, strict=True))


def of_range(asked: Asked, face: Face, own: dict[str, Tensor], strengths: dict[str, float]) -> list[Row]:
    """How pixels and readings follow the strength, from one end of the range to the other."""
    rows: list[Row] = []
    image = face.pixels
    for name, unit in own.items():
        full = asked.bars.range * strengths[name]
        places = torch.tensor(SHARES).to(image) * full
        path = repeated(face.path, len(places))
        changes = change(asked.denoiser, path, places[:, None, None, None] * unit)
        changes = (image + changes).clamp(-1, 1) - image
        wide = _array(changes.flatten(1)).astype(np.float64)
        x = np.array(SHARES)
        slope = x @ wide / (x @ x)
        share = 1 - ((wide - np.outer(x, slope)) ** 2).sum() / max((wide**2).sum(), 1e-30)
        rows.append(_row(face, "linear_pixels", _times(asked), float(share), name))
        none = float(np.sqrt((wide[SHARES.index(0.0)] ** 2).mean()))
        rows.append(_row(face, "preserved", "strength 0", none, name))
        if asked.judge is None:
            continue
        with torch.no_grad():
            readings = _array(asked.judge(image + changes) - asked.judge(image))
        most = most_changed(readings[-1] - readings[0], asked.errors)
        rows += _curve(asked, face, name, x, (readings[:, most] / asked.spread[most]).astype(np.float64))
    return rows


def _curve(
    asked: Asked, face: Face, name: str, x: NDArray[np.float64], reading: NDArray[np.float64]
) -> list[Row]:
    """Rows of one reading along the range: it rises, whatever its name."""
    reading = reading * (1.0 if reading[-1] >= reading[0] else -1.0)
    line = np.polynomial.Polynomial.fit(x, reading, 1)(x)
    variance = float(((reading - reading.mean()) ** 2).sum())
    way = float(np.abs(np.diff(reading)).sum())
    rows = [
        _row(face, "reading", _times(asked), float(one), name, x=float(at), asked=False)
        for at, one in zip(x, reading, strict=True)
    ]
    if variance > 0:
        r2 = 1 - float(((reading - line) ** 2).sum()) / variance
        rows.append(_row(face, "linear_meaning", _times(asked), r2, name))
        rows.append(_row(face, "smooth", _times(asked), abs(float(reading[-1] - reading[0])) / way, name))
    rows.append(_row(face, "meaning", _times(asked), min(float(reading[-1]), -float(reading[0])), name))
    return rows


def _times(asked: Asked) -> str:
    return f"to {asked.bars.range:g} times the target"


def of_two(asked: Asked, face: Face, own: dict[str, Tensor], strengths: dict[str, float]) -> list[Row]:
    """Two regions' directions together against the sum of each alone."""
    rows: list[Row] = []
    image, names = face.pixels, list(own)
    alone = {name: strengths[name] * own[name] for name in names}
    pairs = [(first, second) for k, first in enumerate(names) for second in names[k + 1 :]]
    if not pairs:
        return rows
    moved = torch.stack([alone[name] for name in names] + [alone[a] + alone[b] for a, b in pairs])
    changes = change(asked.denoiser, repeated(face.path, len(moved)), moved)
    place = {name: k for k, name in enumerate(names)}
    readings: NDArray[np.float32] | None = None
    if asked.judge is not None:
        with torch.no_grad():
            output = (image + changes).clamp(-1, 1)
            readings = _array(asked.judge(output) - asked.judge(image)) / asked.spread
    for k, (first, second) in enumerate(pairs, start=len(names)):
        both, total = changes[k], changes[place[first]] + changes[place[second]]
        error = float((both - total).norm() / total.norm().clamp_min(1e-12))
        rows.append(_row(face, "composed_pixels", "two regions", error, f"{first} and {second}"))
        if readings is not None:
            agree = cosine(readings[k], readings[place[first]] + readings[place[second]])
            rows.append(_row(face, "composed_meaning", "two regions", agree, f"{first} and {second}"))
    return rows


def of_others(
    asked: Asked, face: Face, own: dict[str, Tensor], others: Sequence[Face], meant: dict[str, Any]
) -> list[Row]:
    """The image's directions on other images: whether they change as it does."""
    rows: list[Row] = []
    for other in others:
        rois = {roi.name: roi for roi in other.rois}
        for name, one in _edits(asked, other, own, rois).items():
            rows.append(_row(face, "transfer", "three others", _alike(asked, name, meant[name], one), name))
    return rows


def of_other_levels(asked: Asked, face: Face, own: dict[str, Tensor], meant: dict[str, Any]) -> list[Row]:
    """The image's directions, found at one level, added at others."""
    rows: list[Row] = []
    schedule = asked.denoiser.schedule
    here = log_snr(schedule.at(face.path.t))
    if here is None:
        return rows
    rois = {roi.name: roi for roi in face.rois}
    for away in (asked.bars.across, -asked.bars.across):
        try:
            t = schedule.nearest(f"logsnr:{here + away!r}")
        except InputError:
            continue
        path = invert(asked.denoiser, face.pixels, t, asked.steps)
        setting = f"log_snr {away:+g}: " + ("less noise" if away > 0 else "more noise")
        for name, one in _edits(asked, replace(face, path=path), own, rois).items():
            rows.append(_row(face, "level_transfer", setting, _alike(asked, name, meant[name], one), name))
    return rows


def of_absent(
    asked: Asked,
    face: Face,
    name: str,
    unit: Tensor,
    strength: float,
    *,
    without: InversionPath,
    twin: InversionPath,
) -> list[Row]:
    """A direction at the strength of its image, on others without the feature, and on the same with it.

    Both in the region of the image that it was found on; of `without` and `twin` complete paths.
    """
    [mask] = [roi.mask for roi in face.rois if roi.name == name]
    rows: list[Row] = []
    for path, figure, setting, claimed in (
        (without, "absent", f"without {name}", True),
        (twin, "absent", f"the same, with {name}", False),
    ):
        changes = change(asked.denoiser, path, strength * unit)
        images = codec_of(asked.denoiser).decode(path.points[:, 0])
        actual = (images + changes).clamp(-1, 1) - images
        inside = actual[:, :, torch.from_numpy(mask.copy()).to(actual.device)]
        for size in inside.square().mean((1, 2)).sqrt().tolist():
            responds = float(size >= asked.reached * asked.target)
            rows.append(_row(face, figure, setting, responds, name, asked=claimed))
            rows.append(_row(face, f"{figure}_change", setting, size / asked.target, name, asked=False))
    return rows


def measured(
    asked: Asked,
    face: Face,
    others: Sequence[Face],
    lacking: Callable[[], tuple[str, InversionPath, InversionPath]] | None,
    *,
    dense: bool,
) -> list[Row]:
    """All rows of one image.

    Args:
        asked: What all images share.
        face: The image that directions are found on.
        others: Images that they are tried on.
        lacking: Gives a region's name, images without it, and the same with it; None where nobody can.
        dense: Whether whole Jacobians are formed.
    """
    own = firsts(asked, face.path.x_t[0], face, face.path.t, asked.recipe.null_rank)
    rois = {roi.name: roi for roi in face.rois}
    meant = _edits(asked, face, own, rois)
    strengths = {name: one.strength for name, one in meant.items()}
    rows = of_level(asked, face, own, dense=dense)
    rows += of_null_rank(asked, face, own)
    rows += of_range(asked, face, own, strengths)
    rows += of_two(asked, face, own, strengths)
    rows += of_others(asked, face, own, others, meant)
    rows += of_other_levels(asked, face, own, meant)
    if lacking is not None:
        name, without, twin = lacking()
        if name in own:
            rows += of_absent(asked, face, name, own[name], strengths[name], without=without, twin=twin)
    return [row for row in rows if math.isfinite(row["value"])]


def _alike(asked: Asked, name: str, home: Any, one: Any) -> float:
    """1 where an edit does elsewhere what it does at home, as `transfer` in `protocol.toml` has it; else 0."""
    enough = one.inside >= asked.reached * asked.target
    if not enough or cosine(home.change, one.change) <= asked.alike:
        return 0.0
    if not len(home.meaning):
        return 1.0
    most = most_changed(home.meaning, asked.errors, asked.things.get(name))
    return float(home.meaning[most] * one.meaning[most] > 0)


def _row(
    face: Face,
    figure: str,
    setting: str,
    value: float,
    roi: str | None = None,
    *,
    x: float | None = None,
    asked: bool = True,
) -> Row:
    return {
        "figure": figure,
        "setting": setting,
        "image": face.id,
        "roi": roi,
        "x": x,
        "value": value,
        "asked": asked,
    }


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()
