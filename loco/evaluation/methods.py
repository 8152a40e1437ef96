"""The methods that are compared, each a few lines on the same operator and the same solver.

What is under test:

    loco          Algorithm 1: leading right singular vectors of M J off those of the rest
    constrained   the greatest change inside over that outside
    dataset       one direction for all images, from the catalogue (`loco discover --across`)

Controls, each with one thing changed:

    no-null       M J alone: nothing is projected away
    eps           d eps / d x in place of J = d x0_hat / d x
    pullback      leading right singular vectors of the middle block's Jacobian d h / d x_t: knows no region
                  (after Park et al., arXiv 2307.12868)
    random        noise in the region's own pixels, off nothing
    other-region  the direction of another region
    blend         no direction: another image's pixels, blended into the region with a feathered edge

And of rendered faces the ceiling of the criteria:

    renderer      the renderer's own change of the attribute that moves the region most

A method may be told other knobs of its recipe, which is how ablations are asked for: `loco:null_rank=10`.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loco.diffusion.codec import Pixels, codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.discover import discover
from loco.errors import InputError
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.linalg.projection import canonical_sign, project_out
from loco.recipes import DiscoverRecipe, build_recipe
from loco.rois.roi import Roi
from loco.rois.rows import rows_of

FOUND_ON_ONE = ("loco", "constrained", "no-null", "eps", "pullback", "random", "other-region")
"""Methods that find directions on one image."""

METHODS = (*FOUND_ON_ONE, "dataset", "blend", "renderer")

WITHOUT_DIRECTION = ("blend", "renderer")
"""Methods that find none, and have one edit a region."""

CONTROLS = ("no-null", "eps", "pullback", "random", "other-region", "blend")

Vectors = Mapping[str, Tensor]
"""Region -> its directions, [k, C, H, W], of unit length; k may be 0."""


@dataclass(frozen=True)
class Found:
    """What a method found on one image, and what that cost: evaluations of the network, inversion left out; seconds."""

    vectors: Vectors
    evaluations: int
    seconds: float


def base_of(method: str) -> str:
    """The method of a name with knobs; raises `InputError` for one that is not known, and for knobs of one without."""
    name, _, knobs = method.partition(":")
    if name not in METHODS or (knobs and name not in FOUND_ON_ONE):
        raise InputError(
            f"evaluate: method {method[:80]!r} is not known; known are {', '.join(METHODS)}, those that are found "
            f"on one image also with knobs, such as loco:null_rank=10"
        )
    return name


def told(method: str, recipe: DiscoverRecipe) -> DiscoverRecipe:
    """The recipe with the knobs that a method's name has; raises `InputError` for what is no knob or out of range."""
    given = vars(recipe).copy()
    for knob in filter(None, method.partition(":")[2].split(",")):
        name, _, text = knob.partition("=")
        if name not in given or name in ("t", "steps"):
            raise InputError(
                f"evaluate: {name[:40]!r} is no knob that methods can differ in; t and steps are shared"
            )
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    return build_recipe(DiscoverRecipe, given)


def find(
    method: str, denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
) -> Found:
    """Directions of `recipe.rank` a region by one of `FOUND_ON_ONE`, at one point x_t [C, H, W].

    Raises `InputError` for a method that this model does not bear.
    """
    started = time.perf_counter()
    vectors, evaluations = _FINDERS[base_of(method)](denoiser, x_t, rois, told(method, recipe), image_id)
    return Found(vectors, evaluations, time.perf_counter() - started)


_Finder = Callable[[Denoiser, Tensor, Sequence[Roi], DiscoverRecipe, str], tuple[Vectors, int]]


_KNOBS: dict[str, dict[str, Any]] = {"no-null": {"null_rank": 0}, "constrained": {"method": "constrained"}}


def _discovered(method: str) -> _Finder:
    def run(
        denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
    ) -> tuple[Vectors, int]:
        knobs = _KNOBS.get(method, {})
        whole = DiscoverRecipe(**(vars(recipe) | {"ranged": False, "min_retained": 0.01} | knobs))
        basis = discover(denoiser, x_t, rois, whole, model="evaluation", image_id=image_id)
        stacked = torch.from_numpy(basis.vectors.copy()).to(x_t)
        rows = {roi.name: [one.row for one in basis.directions if one.roi == roi.name] for roi in rois}
        return {name: stacked[picked] for name, picked in rows.items()}, basis.evaluations

    return run


class _Noise(JacobianOperator):
    """J of eps_hat = (x_t - s x0_hat) / n: (I - s J) / n."""

    def __init__(self, denoiser: Denoiser, x_t: Tensor, t: float) -> None:
        super().__init__(seen(denoiser, t), x_t)
        self.signal, self.noise = denoiser.schedule.signal(t), denoiser.schedule.noise(t)

    def mv(self, v: Tensor) -> Tensor:
        return (v - self.signal * super().mv(v)) / self.noise

    def rmv(self, u: Tensor) -> Tensor:
        return (u - self.signal * super().rmv(u)) / self.noise


def _noise(
    denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
) -> tuple[Vectors, int]:
    if not isinstance(codec_of(denoiser), Pixels):
        raise InputError("evaluate: eps has the image's pixels for pixel models alone")
    operator = _Noise(denoiser, x_t, recipe.t)
    masks = [rows_of(roi, x_t.shape, x_t.device) for roi in rois]
    requests = [Rows(mask, recipe.rank) for mask in masks] + [Rows(~mask, recipe.null_rank) for mask in masks]
    # The spectrum is flat, which is the point: the solver is given as many rounds as J takes, no more.
    found = row_svds(
        operator, requests, tol=recipe.tol, max_rounds=12, seed=recipe.seed, grid=x_t.shape
    ).triplets
    vectors = {}
    for roi, inside, outside in zip(rois, found[: len(rois)], found[len(rois) :], strict=True):
        left = project_out(inside.right, outside.right)
        unit = canonical_sign(torch.nn.functional.normalize(left, dim=1))
        vectors[roi.name] = unit.reshape(-1, *x_t.shape)
    return vectors, operator.evaluations


def _pullback(
    denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
) -> tuple[Vectors, int]:
    middle = getattr(getattr(denoiser, "network", None), "mid_block", None)
    if middle is None:
        raise InputError("evaluate: pullback needs a U-Net with a middle block")
    held: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        held.append(output)

    def inward(x: Tensor) -> Tensor:
        held.clear()
        denoiser.posterior_mean(x, recipe.t)
        return held[-1]

    handle = middle.register_forward_hook(keep)
    try:
        operator = JacobianOperator(inward, x_t)
        whole = torch.ones(operator.values, dtype=torch.bool, device=x_t.device)
        [found] = row_svds(
            operator, [Rows(whole, recipe.rank)], tol=recipe.tol, max_rounds=12, seed=recipe.seed
        ).triplets
    finally:
        handle.remove()
    unit = canonical_sign(found.right).reshape(-1, *x_t.shape)
    return {roi.name: unit for roi in rois}, operator.evaluations


def _random(
    denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
) -> tuple[Vectors, int]:
    vectors = {}
    for number, roi in enumerate(rois):
        generator = torch.Generator().manual_seed(int(image_id[:12], 16) + number)
        drawn = torch.randn((recipe.rank, x_t.numel()), generator=generator).to(x_t)
        drawn = drawn * rows_of(roi, x_t.shape, x_t.device)
        vectors[roi.name] = torch.nn.functional.normalize(drawn, dim=1).reshape(-1, *x_t.shape)
    return vectors, 0


def _other(
    denoiser: Denoiser, x_t: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, image_id: str
) -> tuple[Vectors, int]:
    if len(rois) < 2:
        raise InputError("evaluate: other-region needs two regions or more")
    own, evaluations = _discovered("loco")(denoiser, x_t, rois, recipe, image_id)
    names = [roi.name for roi in rois]
    return {name: own[names[(k + 1) % len(names)]] for k, name in enumerate(names)}, evaluations


_FINDERS: dict[str, _Finder] = {
    "loco": _discovered("loco"),
    "constrained": _discovered("constrained"),
    "no-null": _discovered("no-null"),
    "eps": _noise,
    "pullback": _pullback,
    "random": _random,
    "other-region": _other,
}
