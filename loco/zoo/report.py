"""What an embedded model is like, measured on faces, or what else it draws, that it was not trained on.

The figures are those on which LOCO Edit (arXiv 2409.02374) rests: how well images come back from x_t, how linear the
posterior mean f is along the directions found (cosine of f(x + s v) - f(x) with s J v, and ||f(x + s v)|| over
||f(x) + s J v||), how low the rank of its Jacobian is (Eq. 10), and how local the edits are.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import invert, sample
from loco.direction import Basis
from loco.discover import discover
from loco.errors import InputError
from loco.levels import log_snr
from loco.linalg.dense import BLOCK, asymmetry, dense_jacobian, energy, rank_ratio, squared_singular_values
from loco.linalg.jacobian import JacobianOperator
from loco.measure.metrics import cosine, locality, psnr
from loco.models.card import WEIGHTS, ModelCard
from loco.models.diffusers_folder import open_folder
from loco.models.network import NetworkDenoiser
from loco.points import points
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.subject import Scenes, Subject
from loco.zoo.subjects import subject_of
from loco.zoo.train import explained_variance, make_scheduler

HELD_OUT = 1_000_003
"""Seed of the faces that figures are measured on; `TrainRecipe.seed` must be another."""

STRENGTHS = (4.0, 6.0)
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
NOISED = (0.4, 0.6, 0.8, 0.9)
"""Levels at which the Jacobian is taken at points with fresh noise as well; the last two are near the paper's own."""

RANK = 3
RECONSTRUCTION_STEPS = 50
EDIT_STEPS = 20
VARIANCE_FACES = 64
VARIANCE_STEPS = (500, 600, 700)
NOISE_DRAWS = 4
ENERGY_TOP = 20

Progress = Callable[[int, int], None]
"""Told (done, total) in units of about a second."""


@dataclass(frozen=True)
class Response:
    """One direction at one strength: how linear f was, and how local the change of the image."""

    roi: str
    strength: float
    cosine: float
    norm_ratio: float
    locality: float


def responses(
    denoiser: Denoiser, x_t: Tensor, basis: Basis, strengths: Sequence[float], *, steps: int = EDIT_STEPS
) -> list[Response]:
    """Every direction of a basis at + and - every strength, about x_t [C, H, W] at the basis's t."""
    if not basis.directions:
        return []
    t = basis.recipe.t
    masks = {roi.name: roi.mask for roi in basis.rois}
    vectors = torch.from_numpy(basis.vectors.copy()).to(x_t)
    operator = JacobianOperator(partial(denoiser.posterior_mean, t=t), x_t)
    tangents = operator.mv(vectors.flatten(1)).view_as(vectors)
    with torch.no_grad():
        centre = denoiser.posterior_mean(x_t[None], t)
    before = sample(denoiser, x_t[None], t, steps)
    found = []
    for strength in signed(strengths):
        moved = x_t + strength * vectors
        with torch.no_grad():
            reached = denoiser.posterior_mean(moved, t)
        predicted = centre + strength * tangents
        changes = sample(denoiser, moved, t, steps) - before
        for i, direction in enumerate(basis.directions):
            found.append(
                Response(
                    roi=direction.roi,
                    strength=strength,
                    cosine=cosine(_array(reached[i] - centre[0]), _array(strength * tangents[i])),
                    norm_ratio=float(reached[i].norm() / predicted[i].norm()),
                    locality=locality(_array(changes[i]), masks[direction.roi]),
                )
            )
    return found


def signed(strengths: Iterable[float]) -> list[float]:
    """+s and -s for each strength, each once."""
    return list(dict.fromkeys(value for s in strengths for value in (abs(s), -abs(s))))


def report(
    folder: Path,
    *,
    t: float | None = None,
    faces: int = 8,
    seed: int = HELD_OUT,
    strengths: Sequence[float] = STRENGTHS,
    dense: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the model in a folder on held-out faces; plain data, ready for JSON.

    Args:
        folder: A diffusers pipeline folder.
        t: Noise level; None for the one that the model's card recommends.
        faces: Number of faces.
        seed: Their seed.
        strengths: Strengths of the edits; each counts as + and -.
        dense: Faces of which the whole Jacobian is formed, D reverse products each, at the inverted point and with
            fresh noise at each level of `NOISED`; 0 leaves these figures out.
        device: Where the network runs.
        progress: Told (done, total).

    Returns figures by name; medians, means and minima are over directions and faces.
    Raises `InputError` where nothing says t, or the model was trained on faces of this seed.
    """
    card, denoiser = _open(folder, seed, device)
    level = card.recommended_t if t is None else t
    if level is None:
        raise InputError(f"the model in {folder} recommends no noise level; pass one, for example t = 0.5")
    whole = (1 + len(NOISED)) * dense * math.ceil(math.prod(card.shape) / BLOCK)
    tick = _Ticker(progress, 2 + 3 * faces + whole)
    subject = _subject(card)
    held_out = _drawn(subject, card, seed, faces)
    x0 = _signal(held_out, device)
    schedule = denoiser.schedule

    back = sample(denoiser, invert(denoiser, x0, level, RECONSTRUCTION_STEPS), level, RECONSTRUCTION_STEPS)
    each = [psnr(_array(a), _array(b)) for a, b in zip(back, x0, strict=True)]
    tick(1)
    steps = _variance_steps(denoiser)
    many = _signal(_drawn(subject, card, seed, VARIANCE_FACES), device)
    variance = {
        "steps": list(steps),
        f"of_{VARIANCE_FACES}": _explained(denoiser, many, steps),
        f"of_{faces}": _explained(denoiser, x0, steps),
    }
    tick(1)

    x_t = invert(denoiser, x0, level, EDIT_STEPS)
    bases, measured = _measure(denoiser, card, held_out, x_t, level, strengths, lambda: tick(3))

    spectra: list[tuple[float, float, float]] = []
    for i in range(min(dense, faces)):
        operator = JacobianOperator(partial(denoiser.posterior_mean, t=level), x_t[i])
        matrix = dense_jacobian(operator, lambda _: tick(1))
        squares = squared_singular_values(matrix)
        spectra.append((rank_ratio(squares), energy(squares, ENERGY_TOP), asymmetry(matrix)))
    noised = noised_spectra(denoiser, x0[:dense], lambda _: tick(1))
    ranks, energies, asymmetries = zip(*spectra, strict=True) if spectra else ((), (), ())

    return {
        "model": card.id,
        "parameters": sum(weight.numel() for weight in denoiser.network.parameters()),
        "weights_bytes": (folder / "unet" / WEIGHTS).stat().st_size,
        "shape": list(card.shape),
        "t": level,
        "step": schedule.step(level),
        "alpha_bar": schedule.at(level),
        "seed": seed,
        "faces": faces,
        "reconstruction_psnr_db": {
            "steps": RECONSTRUCTION_STEPS,
            "each": [_finite(value) for value in each],
            "mean": _finite(float(np.mean(each))),
            "min": _finite(min(each)),
        },
        "explained_variance": variance,
        "directions": {roi: _direction_figures(bases, roi) for roi in subject.typical},
        "linearity": {
            roi: {
                f"{strength:+g}": {
                    "cosine": _spread(one.cosine for one in measured if _is(one, roi, strength)),
                    "norm_ratio": _spread(one.norm_ratio for one in measured if _is(one, roi, strength)),
                }
                for strength in signed(strengths)
            }
            for roi in subject.typical
        },
        "locality": {
            roi: {
                f"{strength:+g}": _median(one.locality for one in measured if _is(one, roi, strength))
                for strength in signed(strengths)
            }
            for roi in subject.typical
        },
        "dense_faces": len(spectra),
        "rank_ratio": _mean(ranks),
        f"energy_top_{ENERGY_TOP}": _mean(energies),
        "asymmetry": _mean(asymmetries),
        "noised": noised,
    }


def noised_spectra(
    denoiser: Denoiser, x0: Tensor, progress: Callable[[int], None] | None = None
) -> list[dict[str, Any]]:
    """The Jacobian of images [B, 3, H, W] with fresh noise, a row a level of `NOISED`: means over the images.

    No rows where there are none. `trace` is over its size: that of a true posterior mean is positive.
    """
    rows = []
    for t in NOISED if len(x0) else ():
        recipe = DiscoverRecipe(t=t, point="noised")
        at = points(denoiser.schedule, x0, recipe, [f"{i:064x}" for i in range(len(x0))])[:, 0]
        found = []
        for x in at:
            matrix = dense_jacobian(JacobianOperator(partial(denoiser.posterior_mean, t=t), x), progress)
            squares = squared_singular_values(matrix)
            trace = float(matrix.trace()) / len(matrix)
            found.append((rank_ratio(squares), energy(squares, ENERGY_TOP), trace, asymmetry(matrix)))
        names = ("rank_ratio", f"energy_top_{ENERGY_TOP}", "trace", "asymmetry")
        means = {name: _mean(values) for name, values in zip(names, zip(*found, strict=True), strict=True)}
        level = denoiser.schedule.at(t)
        told = {"t": t, "step": denoiser.schedule.step(t), "alpha_bar": level, "log_snr": log_snr(level)}
        rows.append(told | means)
    return rows


def sweep(
    folder: Path,
    ts: Sequence[float] | None = None,
    *,
    faces: int = 3,
    seed: int = HELD_OUT,
    strengths: Sequence[float] = STRENGTHS,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row of figures for each noise level, to choose one by: medians over regions, directions and faces.

    The levels are `LEVELS` where `ts` is None.
    `cosine` and `locality` are by strength, over both signs. Raises `InputError` as `report` does.
    """
    card, denoiser = _open(folder, seed, device)
    ts = LEVELS if ts is None else ts
    tick = _Ticker(progress, len(ts) * (1 + faces))
    held_out = _drawn(_subject(card), card, seed, faces)
    x0 = _signal(held_out, device)
    rows = []
    for t in ts:
        x_t = invert(denoiser, x0, t, EDIT_STEPS)
        back = sample(denoiser, x_t, t, EDIT_STEPS)
        tick(1)
        bases, measured = _measure(denoiser, card, held_out, x_t, t, strengths, lambda: tick(1))
        found = [direction for basis in bases for direction in basis.directions]
        sizes = list(dict.fromkeys(abs(s) for s in strengths))
        rows.append(
            {
                "t": t,
                "step": denoiser.schedule.step(t),
                "psnr_db": _median(psnr(_array(a), _array(b)) for a, b in zip(back, x0, strict=True)),
                "cosine": {
                    f"{s:g}": _median(one.cosine for one in measured if abs(one.strength) == s) for s in sizes
                },
                "locality": {
                    f"{s:g}": _median(one.locality for one in measured if abs(one.strength) == s)
                    for s in sizes
                },
                "gain": _median(direction.gain for direction in found),
                "leakage": _median(direction.leakage for direction in found if direction.leakage is not None),
                "retained": _median(
                    direction.retained for direction in found if direction.retained is not None
                ),
                "directions": len(found),
                "converged": sum(direction.converged for direction in found),
                "refused": sum(len(basis.refused) for basis in bases),
            }
        )
    return rows


class _Ticker:
    """Counts what is done and tells it."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, units: int) -> None:
        self.done += units
        if self.progress is not None:
            self.progress(self.done, self.total)


def _open(folder: Path, seed: int, device: str) -> tuple[ModelCard, NetworkDenoiser]:
    card, denoiser = open_folder(folder, device=device)
    training = card.extra.get("training") or {}
    if (training.get("recipe") or {}).get("seed") == seed:
        raise InputError(f"the model in {folder} was trained on faces of seed {seed}; measure it on another")
    return card, denoiser


def _subject(card: ModelCard) -> Subject:
    return subject_of(card.extra.get("training") or {})


def _drawn(subject: Subject, card: ModelCard, seed: int, count: int) -> Scenes:
    _, height, width = card.shape
    if height != width:
        raise InputError(f"{subject.name} are square, the model in {card.folder} works at {width} x {height}")
    return subject.scenes(seed, count, height)


def _signal(drawn: Scenes, device: str) -> Tensor:
    """Images [B, 3, H, W] in [-1, 1]."""
    return (torch.from_numpy(drawn.images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous().to(device)


def _measure(
    denoiser: Denoiser,
    card: ModelCard,
    drawn: Scenes,
    x_t: Tensor,
    t: float,
    strengths: Sequence[float],
    done: Callable[[], None],
) -> tuple[list[Basis], list[Response]]:
    recipe = DiscoverRecipe(t=t, steps=EDIT_STEPS, rank=RANK)
    bases: list[Basis] = []
    measured: list[Response] = []
    typical = _subject(card).typical
    for i, point in enumerate(x_t):
        rois = [Roi(name, drawn.masks[name][i], "rendered") for name in typical if drawn.masks[name][i].any()]
        basis = discover(denoiser, point, rois, recipe, model=card.id, image_id=f"face-{i}")
        bases.append(basis)
        measured += responses(denoiser, point, basis, strengths)
        done()
    return bases, measured


def _direction_figures(bases: Sequence[Basis], roi: str) -> dict[str, Any]:
    found = [direction for basis in bases for direction in basis.directions if direction.roi == roi]
    return {
        "found": len(found),
        "converged": sum(direction.converged for direction in found),
        "refused": sum(refusal.roi == roi for basis in bases for refusal in basis.refused),
        "gain": _median(direction.gain for direction in found),
        "leakage": _median(direction.leakage for direction in found if direction.leakage is not None),
        "retained": _median(direction.retained for direction in found if direction.retained is not None),
    }


def _variance_steps(denoiser: Denoiser) -> tuple[int, ...]:
    """The training steps whose alpha_bar is nearest to those of `VARIANCE_STEPS` in the embedded schedule."""
    wanted = make_scheduler().alphas_cumprod.double()[list(VARIANCE_STEPS)]
    alpha_bar = denoiser.schedule.alpha_bar
    return tuple(int((alpha_bar - a).abs().argmin()) for a in wanted)


class _Velocity(torch.nn.Module):
    """Any denoiser as a network that predicts v = (sqrt(a) x_t - x0_hat) / sqrt(1 - a)."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_t: Tensor, step: Tensor) -> SimpleNamespace:
        t = self.denoiser.schedule.level(int(step))
        a = self.denoiser.schedule.at(t)
        return SimpleNamespace(sample=(a**0.5 * x_t - self.denoiser.posterior_mean(x_t, t)) / (1 - a) ** 0.5)


def _explained(denoiser: Denoiser, x0: Tensor, steps: tuple[int, ...]) -> list[float | None]:
    network, alpha_bar = _Velocity(denoiser), denoiser.schedule.alpha_bar
    draws = [explained_variance(network, alpha_bar, x0, steps, seed) for seed in range(NOISE_DRAWS)]
    return [_finite(value) for value in np.mean(draws, axis=0)]  # one face has no variance


def _array(x: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return x.detach().cpu().numpy()


def _is(one: Response, roi: str, strength: float) -> bool:
    return one.roi == roi and one.strength == strength


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float | None:
    return _finite(float(np.mean(values))) if values else None


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return _finite(float(np.median(listed))) if listed else None


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    listed = list(values)
    return {
        "median": _median(listed),
        "mean": _mean(listed),
        "min": _finite(min(listed)) if listed else None,
    }
