"""How strong is right: from where a change is first seen to where it saturates, both signs, over several images.

Of each image and sign `curve` follows the change of the posterior mean f at t over strengths of half octaves,

    c(s) = f(x_t + s v) - f(x_t),        scaled by  RMS(edit) / RMS(c)  in the region, at one strength,

because the edit, all the way down from t, is larger than c by a factor that hardly depends on s: so a strength costs
one evaluation and not one a step. Its figures:

    seen      the strength at which the RMS change in the region reaches `VISIBLE`
    end       the last strength before the edit saturates or leaves what first order says, see `saturated`

The strength that is recommended (`recommended`) is one at which as many images as possible, both signs, are between
the two, and of such strengths the one whose median change is nearest to `TARGET`, or half an octave before the end of
most.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from loco.recipes import SD

if TYPE_CHECKING:
    from torch import Tensor

    from loco.diffusion.denoiser import Denoiser
    from loco.diffusion.sampling import Progress
    from loco.direction import Direction
    from loco.inversion import InversionPath

VISIBLE = 0.04
"""Least RMS change in a region, in units of [-1, 1], that counts as seen: five of 255 gray levels."""

TARGET = SD / 2
"""RMS change in a region that is plainly seen, and what a strength is chosen for: what `0.5sd` predicts, 32 gray
levels."""

CLIPPED = 0.8
"""An edit has saturated where clipping to the range of pixels leaves less than this of its RMS change in the region."""

TURNED = 0.7
"""It has left what first order says where its cosine to J v in the region is less than this,"""

SHRUNK = 0.5
"""or where its change is less than this fraction of the first-order one: more strength then does ever less."""

OCTAVES = range(-12, 15)
"""Strengths tried: 2^(k / 2)."""

SHARE = 0.9
"""Share of images and signs that a strength should suit."""

STEPS = 5
"""Perceptually even strengths between the least that is seen and the end."""


def strength_of(k: int) -> float:
    """The k-th strength that is tried."""
    return float(2.0 ** (k / 2))


def curve(
    denoiser: "Denoiser",
    path: "InversionPath",
    vectors: "Tensor",
    responses: "Tensor",
    masks: "Mapping[tuple[int, int], Tensor]",
    progress: "Progress | None" = None,
) -> dict[tuple[int, int], dict[str, float]]:
    """For each pair (image, direction) of `masks`, the figures of its curve that `recommended` reads.

    Args:
        denoiser: The model.
        path: Complete paths of the images.
        vectors: Unit directions, [k, C, H, W].
        responses: J v, [B, k, 3, H, W].
        masks: The region of each image, bool [H, W], for each direction that is measured there.
        progress: Told of evaluations.

    Figures: `seen+`, `seen-`, `end+`, `end-` (strengths), `rms+K` and `rms-K` (RMS change in the region at
    `strength_of(K)`), and `linear_range`, as `loco.linearity` has it.
    """
    import torch

    from loco.diffusion.codec import Pixels, codec_of
    from loco.linearity import strains
    from loco.measure.transfer import BATCH, moved

    # Of a latent model the picture is not at hand without decoding: its clipping is not looked at.
    pictured = isinstance(codec_of(denoiser), Pixels)
    lanes = [
        _Lane(row, k, sign, responses[row, k] * sign, mask)
        for (row, k), mask in masks.items()
        for sign in (1, -1)
        if float(responses[row, k][:, mask].norm()) > 0
    ]
    _scaled(denoiser, path, vectors, lanes, progress)
    live = lanes
    while live:
        for start in range(0, len(live), BATCH):
            some = live[start : start + BATCH]
            pushes = torch.stack([lane.sign * strength_of(lane.at) * vectors[lane.k] for lane in some])
            changes = moved(denoiser, path, [lane.row for lane in some], pushes)
            if progress is not None:
                progress(len(some))
            predicted = torch.stack([strength_of(lane.at) * lane.response for lane in some])
            strained = strains(changes.flatten(1), predicted.flatten(1)).tolist()
            for lane, change, strain in zip(some, changes, strained, strict=True):
                lane.take(change, path.points[lane.row, 0] if pictured else None, strain)
        live = [lane for lane in live if not lane.over]
    found: dict[tuple[int, int], dict[str, float]] = {}
    for lane in lanes:
        told = found.setdefault((lane.row, lane.k), {})
        told |= lane.figures()
        told["linear_range"] = min(told.get("linear_range", math.inf), lane.linear)
    return found


class _Lane:
    """One image, one direction and one sign on the way up."""

    def __init__(self, row: int, k: int, sign: int, response: "Tensor", mask: "Tensor") -> None:
        self.row, self.k, self.sign, self.response, self.mask = row, k, sign, response, mask
        self.unit = _rms(response, mask)
        first = math.floor(2 * math.log2(VISIBLE / 2 / max(self.unit, 1e-30)))
        self.at = min(max(first, OCTAVES.start), OCTAVES.stop - 1)
        self.scale = 1.0
        self.sizes: dict[int, float] = {}
        self.end, self.linear = 0.0, 0.0
        self.bent = self.over = False

    def take(self, change: "Tensor", picture: "Tensor | None", strain: float) -> None:
        """What the change at the present strength says; then one step up."""
        strength = strength_of(self.at)
        size, kept = _rms(change, self.mask), 1.0
        self.bent = self.bent or strain > 1
        if not self.bent:
            self.linear = strength
        if picture is not None and size:
            whole = self.scale * change
            kept = _rms((picture + whole).clamp(-1, 1) - picture, self.mask) / _rms(whole, self.mask)
        inside, along = change[:, self.mask].double(), self.response[:, self.mask].double()
        length = float(inside.norm() * along.norm())
        turned = float((inside * along).sum()) / length if length else 0.0
        saturated = kept < CLIPPED or turned < TURNED or size < SHRUNK * strength * self.unit
        if not saturated:
            self.sizes[self.at] = self.scale * size
            self.end = strength
        self.at += 1
        self.over = saturated or self.at >= OCTAVES.stop

    def figures(self) -> dict[str, float]:
        """Its part of the figures."""
        mark = "+" if self.sign > 0 else "-"
        found = {f"rms{mark}{k}": float(f"{size:.4g}") for k, size in self.sizes.items()}
        found[f"end{mark}"] = self.end
        seen = _reached(self.sizes, VISIBLE)
        return found if seen is None else found | {f"seen{mark}": float(f"{seen:.4g}")}


def _scaled(
    denoiser: "Denoiser",
    path: "InversionPath",
    vectors: "Tensor",
    lanes: "Sequence[_Lane]",
    progress: "Progress | None",
) -> None:
    """Measure how much larger each lane's edit is than the change of the posterior mean, at a change of `TARGET`."""
    import torch

    from loco.edit import change
    from loco.measure.transfer import moved

    for k in sorted({lane.k for lane in lanes}):
        for sign in (1, -1):
            mine = {lane.row: lane for lane in lanes if (lane.k, lane.sign) == (k, sign)}
            if not mine:
                continue
            lengths = torch.zeros(len(path), dtype=vectors.dtype, device=vectors.device)
            for row, lane in mine.items():
                lengths[row] = sign * min(TARGET / max(lane.unit, 1e-30), strength_of(OCTAVES.stop - 1))
            pushes = lengths[:, None, None, None] * vectors[k]
            rows = sorted(mine)
            first = moved(denoiser, path, rows, pushes[rows])
            if progress is not None:
                progress(len(rows))
            whole = change(denoiser, path, pushes, progress)
            for row, small in zip(rows, first, strict=True):
                lane = mine[row]
                size = _rms(small, lane.mask)
                lane.scale = _rms(whole[row], lane.mask) / size if size else 1.0


def _rms(change: "Tensor", mask: "Tensor") -> float:
    return float(change[:, mask].double().square().mean().sqrt())


def _reached(sizes: Mapping[int, float], level: float) -> float | None:
    """The strength at which sizes first reach a level, between those that were tried by powers; None where never."""
    before: tuple[int, float] | None = None
    for k in sorted(sizes):
        size = sizes[k]
        if size >= level:
            if before is None or before[1] <= 0:
                return strength_of(k) * level / size
            low, small = before
            part = math.log(level / small) / math.log(size / small)
            return float(2.0 ** ((low + part * (k - low)) / 2))
        before = (k, size)
    return None


@dataclass(frozen=True)
class Strength:
    """A recommended strength.

    Attributes:
        strength: The strength, the same for both signs.
        least: Least strength whose change is seen on `SHARE` of the images and signs.
        most: Greatest strength that `SHARE` of them take.
        suits: Share of images and signs on which the strength is seen and not beyond their end.
        plus, minus: Perceptually even strengths, from the least seen to the end; equal steps of median RMS change.
    """

    strength: float
    least: float | None
    most: float | None
    suits: float
    plus: tuple[float, ...]
    minus: tuple[float, ...]


def recommended(figures: Sequence[Mapping[str, float]]) -> Strength | None:
    """What the curves of one direction on several images come to; None where none of them has one."""
    seen, ends = list[float](), list[float]()
    for one in figures:
        for mark in "+-":
            if f"end{mark}" in one:
                seen.append(one.get(f"seen{mark}", math.inf))
                ends.append(one[f"end{mark}"])
    if not ends or not any(ends):
        return None
    grid = [2.0 ** (k / 8) for k in range(4 * OCTAVES.start, 4 * OCTAVES.stop)]
    suits = [sum(low <= at <= high for low, high in zip(seen, ends, strict=True)) / len(ends) for at in grid]
    best = max(suits)
    medians = {mark: _median_curve(figures, mark) for mark in "+-"}
    both = [size for mark in "+-" if (size := _reached(medians[mark], TARGET))]
    count = len(ends)
    least = sorted(seen)[math.ceil(SHARE * count - 1e-9) - 1]
    most = sorted(ends)[math.floor((1 - SHARE) * count + 1e-9)]
    wanted = median(both) if both else median(ends)
    if most:
        wanted = min(wanted, max(most / math.sqrt(2), min(least, most)))
    allowed = [at for at, share in zip(grid, suits, strict=True) if share >= min(best, SHARE) - 1e-9]
    strength = min(allowed, key=lambda at: abs(math.log(at / wanted)))
    if best == 0:  # no strength is seen and sound anywhere: as far as most images go
        strength = median(ends)
    last = max(most, strength)
    return Strength(
        strength=_short(strength),
        least=_short(least) if math.isfinite(least) else None,
        most=_short(most) if most else None,
        suits=suits[grid.index(strength)] if strength in grid else 0.0,
        plus=_even(medians["+"], last),
        minus=tuple(-one for one in _even(medians["-"], last)),
    )


def _median_curve(figures: Sequence[Mapping[str, float]], mark: str) -> dict[int, float]:
    """Median RMS change at each strength that at least half of the images got to, never falling."""
    sizes: dict[int, list[float]] = {}
    images = 0
    for one in figures:
        images += f"end{mark}" in one
        for name, value in one.items():
            if name.startswith(f"rms{mark}"):
                sizes.setdefault(int(name[4:]), []).append(value)
    found, least = {}, 0.0
    for k in sorted(sizes):
        if 2 * len(sizes[k]) >= images:
            least = max(least, median(sizes[k]))
            found[k] = least
    return found


def _even(sizes: Mapping[int, float], last: float) -> tuple[float, ...]:
    """Strengths whose changes are equally far apart, from `VISIBLE` to that at the strength `last`."""
    within = {k: size for k, size in sizes.items() if strength_of(k) <= last * 1.001}
    top = max(within.values(), default=0.0)
    if top <= VISIBLE:
        return ()
    levels = [VISIBLE + (top - VISIBLE) * n / (STEPS - 1) for n in range(STEPS)]
    return tuple(_short(at) for level in levels if (at := _reached(within, level * (1 - 1e-9))))


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def from_gain(direction: "Direction", values: int) -> float:
    """The strength of a direction that was never measured: a first-order RMS change of `TARGET` in its region.

    `values` is the number of values of the model's image (3 * H * W), of which the region has `roi_area`. Twice the
    linear range at most, where that is known: beyond, first order says nothing; and never more than the greatest
    strength that is ever tried, of a direction that changes next to nothing.
    """
    unit = direction.gain / math.sqrt(max(1.0, direction.roi_area * values))
    wanted = TARGET / max(unit, 1e-12)
    return _short(min(wanted, 2 * (direction.linear_range or wanted), strength_of(OCTAVES.stop - 1)))


def shared(cosines: Sequence[Sequence[float]], strengths: Sequence[float]) -> tuple[float, ...]:
    """The strengths of directions that are added together, so that they are one budget.

    In units of their own strengths the sum has the length of one direction: for n orthogonal ones each gets
    1 / sqrt(n), for n that are the same 1 / n. `cosines` are those between the directions.
    """
    total = sum(abs(one) for row in cosines for one in row)
    return tuple(_short(one / math.sqrt(max(1.0, total))) for one in strengths)
