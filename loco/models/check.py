"""The identities that hold for any weights, measured on one model: what `loco model check` runs.

None of them needs an image of the model's own kind: they say whether the model was understood, not whether it is good.
Two figures are no identities and fail nothing: how well inversion and sampling undo each other, and whether a direction
works both ways, depend on how smooth the model is. They are reported with what is usual.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import PREDICTIONS, Denoiser, posterior_mean, prediction
from loco.diffusion.sampling import invert, sample
from loco.direction import Basis
from loco.discover import discover
from loco.linalg.jacobian import JacobianOperator
from loco.measure.metrics import cosine, psnr
from loco.precision import algebra, rounding
from loco.recipes import DiscoverRecipe
from loco.rois.roi import from_box

STRENGTH = 0.2
"""Strength, in units of x_t's length for unit variance over 100, of the edits that are looked at."""


LARGE, ROUNDS = 3 * 128 * 128, 2
"""Numbers in an x_t above which a direction is looked for in so few rounds: the rest would take hours without an
accelerator, and shows nothing more."""


@dataclass(frozen=True)
class Finding:
    """One identity, measured.

    Attributes:
        name: What should hold.
        value: What was measured.
        bound: Where it stops holding; None for what is only reported.
        at_most: Whether the value must not exceed the bound, else not fall below it.
        usual: For what is only reported: what it usually is on trained models.
    """

    name: str
    value: float
    bound: float | None
    at_most: bool = True
    usual: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is a number within its bound."""
        if not math.isfinite(self.value):
            return not self.at_most and self.value > 0  # equal images: PSNR without end
        return self.bound is None or (self.value <= self.bound if self.at_most else self.value >= self.bound)


@dataclass(frozen=True)
class _Case:
    """What is measured on: a model, a picture [3, H, W], what it diffuses of it, and that at noise level t."""

    denoiser: Denoiser
    recipe: DiscoverRecipe
    model: str
    image: Tensor
    x0: Tensor
    x_t: Tensor

    def noised(self, x0: Tensor) -> Tensor:
        """signal x0 + noise eps, with the same eps every time."""
        schedule, noise = self.denoiser.schedule, _draw(tuple(x0.shape), x0.dtype, 4).to(x0.device)
        return schedule.signal(self.recipe.t) * x0 + schedule.noise(self.recipe.t) * noise


def check(
    denoiser: Denoiser,
    recipe: DiscoverRecipe,
    *,
    model: str,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Every identity at the recipe's t, in the recipe's dtype; `progress` is told what has been measured."""
    say = progress or (lambda text: None)
    image = _picture(codec_of(denoiser).image_shape).to(device, algebra(recipe.dtype))
    with torch.no_grad():
        x0 = codec_of(denoiser).encode(image[None])
    x_t = invert(denoiser, x0, recipe.t, recipe.steps)
    say("inversion")
    case = _Case(denoiser, recipe, model, image, x0, x_t)
    findings: list[Finding] = []
    for text, act in (
        ("posterior mean", _answers),
        ("parametrisations", _views),
        ("derivatives", _products),
        ("sampling", _round_trip),
        ("discovery", _directions),
    ):
        findings += act(case)
        say(text)
    return findings


def _answers(case: _Case) -> list[Finding]:
    """x0_hat of a noised constant: its shape, and that it is finite."""
    x_t = case.noised(torch.full_like(case.x0, 0.25).repeat(2, 1, 1, 1))
    with torch.no_grad():
        found = case.denoiser.posterior_mean(x_t, case.recipe.t)
        picture = codec_of(case.denoiser).decode(found)
    shapes = found.shape == x_t.shape and picture.shape[1:] == codec_of(case.denoiser).image_shape
    finite = bool(found.isfinite().all()) and bool(picture.isfinite().all())
    return [Finding("answers of the right shape, all finite", float(shapes and finite), 1.0, at_most=False)]


def _views(case: _Case) -> list[Finding]:
    """The same answer told as epsilon, v, x0 and flow gives the same x0_hat, relative to its size."""
    denoiser, t = case.denoiser, case.recipe.t
    x_t = case.noised(torch.zeros_like(case.x0))
    signal, noise = denoiser.schedule.signal(t), denoiser.schedule.noise(t)
    with torch.no_grad():
        x0_hat = denoiser.posterior_mean(x_t, t)
    worst = 0.0
    for kind in PREDICTIONS:
        if kind == "epsilon" and signal == 0:
            continue
        told = prediction(x_t, x0_hat, signal, noise, kind)
        again = posterior_mean(x_t, told, signal, noise, kind)
        worst = max(worst, float((again - x0_hat).abs().max() / x0_hat.abs().max().clamp_min(1e-30)))
    return [Finding("epsilon, v, x0 and flow views agree", worst, 1e-5)]


def _products(case: _Case) -> list[Finding]:
    """<J v, u> = <v, J' u>, and J v exact against a central difference."""
    x_t = case.noised(torch.zeros_like(case.x0))[0]
    f = seen(case.denoiser, case.recipe.t)
    v = _draw((2, x_t.numel()), x_t.dtype, 1).to(x_t.device)
    u = _draw((2, case.image.numel()), x_t.dtype, 2).to(x_t.device)
    half = rounding(case.denoiser)
    exact, central = JacobianOperator(f, x_t, forward="exact"), JacobianOperator(f, x_t, rounding=half)
    forward, reverse, difference = exact.mv(v), exact.rmv(u), central.mv(v)
    left, right = (forward * u).sum(1), (v * reverse).sum(1)
    scale = (forward.norm(dim=1) * u.norm(dim=1)).clamp_min(1e-30)
    bound, usual = _difference(case.denoiser)
    apart = (forward - difference).norm(dim=1) / forward.norm(dim=1).clamp_min(1e-30)
    return [
        Finding(
            "forward and reverse products are adjoint", float(((left - right).abs() / scale).max()), 1e-4
        ),
        Finding("a central difference gives the exact product", float(apart.max()), bound, usual=usual),
    ]


def _difference(denoiser: Denoiser) -> tuple[float | None, str]:
    """Up to where a difference is the derivative, or what is usual where that is no identity.

    A decoder with corners (ReLU) has other slopes on both sides of them; in half precision rounding is all.
    """
    half = rounding(denoiser)
    if half is not None:
        return None, "0.02 to 0.2 in half precision"
    network = getattr(codec_of(denoiser), "network", None)
    if network is not None and any(isinstance(one, torch.nn.ReLU) for one in network.modules()):
        return None, "up to 0.2 for a decoder with corners (ReLU)"
    return 2e-2, ""


def _round_trip(case: _Case) -> list[Finding]:
    """Inversion to t and sampling back, of what is diffused, in dB of its own span."""
    again = sample(case.denoiser, case.x_t, case.recipe.t, case.recipe.steps)
    span = float(case.x0.max() - case.x0.min())
    figure = psnr(again.double().cpu().numpy(), case.x0.double().cpu().numpy(), span)
    return [
        Finding(
            "inversion, then sampling, gives back the input (PSNR, dB)",
            figure,
            None,
            at_most=False,
            usual="30 to 60; 10 to 20 for random weights",
        )
    ]


def _directions(case: _Case) -> list[Finding]:
    """A direction found moves its region one way at + and the other way at -; found again, it is the same."""
    first, second = _found(case), _found(case)
    findings = [
        Finding("the same recipe gives the same basis id", float(first.id == second.id), 1.0, at_most=False),
        Finding("a direction is found", float(len(first.directions)), 1.0, at_most=False),
    ]
    if not first.directions:
        return findings
    alike = cosine(first.vectors[0], second.vectors[0])
    findings.append(Finding("found again, a direction is the same (cosine)", alike, 0.999, at_most=False))
    length = STRENGTH * float(case.x_t.numel()) ** 0.5 / 100
    step = length * torch.from_numpy(first.vectors[0].copy()).to(case.x_t)
    codec, t, steps = codec_of(case.denoiser), case.recipe.t, case.recipe.steps
    with torch.no_grad():
        moved = codec.decode(
            sample(case.denoiser, torch.cat([case.x_t, case.x_t + step, case.x_t - step]), t, steps)
        )
    still, plus, minus = moved.double().cpu().numpy()
    inside = first.rois[0].mask
    opposite = cosine((plus - still)[:, inside], (minus - still)[:, inside])
    findings.append(
        Finding(
            "+ and - move the region opposite ways (cosine)",
            opposite,
            None,
            usual="-0.95 to -1; any for random weights",
        )
    )
    return findings


def _found(case: _Case) -> Basis:
    roi = from_box("middle", (0.25, 0.25, 0.75, 0.75), codec_of(case.denoiser).image_shape[1:])
    small = replace(case.recipe, rank=1, null_rank=2)
    if case.x_t.numel() > LARGE:  # what has to hold holds of a direction that is not settled yet, too
        small = replace(small, tol=max(small.tol, 0.2), max_rounds=min(small.max_rounds, ROUNDS))
    return discover(case.denoiser, case.x_t[0], [roi], small, model=case.model, image_id="0" * 64)


def _picture(shape: tuple[int, int, int]) -> Tensor:
    """A smooth picture [3, H, W] within [-0.8, 0.8], float64, the same for every model of one size."""
    coarse = _draw((1, 3, 4, 4), torch.float64, 3)
    smooth = torch.nn.functional.interpolate(coarse, shape[1:], mode="bicubic", align_corners=False)[0]
    return 0.8 * smooth / smooth.abs().max()


def _draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
