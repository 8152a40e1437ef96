"""How fast discovery is, side by side with the published procedure on the same model, image and regions.

The baseline is Algorithm 1 of LOCO Edit (arXiv 2409.02374) as its code runs it: 50 rounds of the power method, each
region and each complement alone, J v by forward-mode differentiation, J' u by one backward pass a vector over a graph
built anew in each round. It is given the same network, device and threads, and none of that code's copies to the CPU.

Both are compared with the singular vectors of the whole Jacobian, where it is small enough to be formed. The ratios are
the result: seconds belong to the machine.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import invert
from loco.linalg.dense import dense_jacobian, leading, subspace_error
from loco.linalg.jacobian import Adjoint, Forward, JacobianOperator
from loco.linalg.krylov import Rows, Solution, row_svds
from loco.linalg.power import ROUNDS, power_svds
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.rois.rows import rows_of

DENSE = 12_288
"""Entries of x_t up to which the whole Jacobian is formed: 64 x 64 in colour."""

Say = Callable[[str], None]


class TimedOperator(JacobianOperator):
    """A `JacobianOperator` that knows how long its products took."""

    def __init__(
        self, f: Callable[[Tensor], Tensor], x: Tensor, *, forward: Forward, adjoint: Adjoint
    ) -> None:
        super().__init__(f, x, forward=forward, adjoint=adjoint)
        self.seconds = 0.0

    def mv(self, v: Tensor) -> Tensor:
        """J v, timed."""
        return self._timed(super().mv, v)

    def rmv(self, u: Tensor) -> Tensor:
        """J' u, timed."""
        return self._timed(super().rmv, u)

    def _timed(self, product: Callable[[Tensor], Tensor], block: Tensor) -> Tensor:
        started = now(self.x)
        result = product(block)
        self.seconds += now(self.x) - started
        return result


def now(x: Tensor) -> float:
    """Seconds, once the device of x has done what it was asked."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


@dataclass(frozen=True)
class Cost:
    """What a solver spent.

    Attributes:
        products: Products J v and J' u, in single vectors.
        evaluations: Network evaluations, in single images; a backward pass is not one.
        seconds: Wall time.
        network_seconds: Of it, inside the products.
        subspace_error: Largest sine between a subspace found and that of the dense SVD; None where none was formed.
        peak_bytes: Greatest memory: of the device on a GPU, of the process elsewhere.
    """

    products: int
    evaluations: int
    seconds: float
    network_seconds: float
    subspace_error: float | None
    peak_bytes: int


def bench_discover(
    denoiser: Denoiser, x0: Tensor, rois: Sequence[Roi], recipe: DiscoverRecipe, say: Say
) -> dict[str, Any]:
    """Time both solvers on image x0 [C, H, W]; returns plain data, ratios first."""
    started = now(x0)
    x_t = invert(denoiser, x0[None], recipe.t, recipe.steps)[0]
    inversion = now(x0) - started
    f = seen(denoiser, recipe.t)
    shape = codec_of(denoiser).image_shape
    masks = [rows_of(roi, shape, x_t.device) for roi in rois]
    inside = [Rows(mask, min(recipe.rank, int(mask.sum()))) for mask in masks]
    outside = [Rows(~mask, min(recipe.null_rank, int((~mask).sum()))) for mask in masks]
    truth: list[Tensor] | None = None
    if x_t.numel() <= DENSE:
        say("forming the whole Jacobian")
        matrix = dense_jacobian(JacobianOperator(f, x_t, chunk=64))
        truth = [leading(matrix, rows.mask, rows.rank) for rows in (*inside, *outside)]
    pairs = [list(pair) for pair in zip(inside, outside, strict=True)]

    def krylov(operator: JacobianOperator, requests: Sequence[Rows]) -> Solution:
        return row_svds(
            operator,
            requests,
            tol=recipe.tol,
            max_rounds=recipe.max_rounds,
            seed=recipe.seed,
            grid=shape,
        )

    def power(operator: JacobianOperator, requests: Sequence[Rows]) -> Solution:
        return power_svds(operator, requests, tol=recipe.tol, max_rounds=ROUNDS, seed=recipe.seed)

    def run(
        solve: Callable[[JacobianOperator, Sequence[Rows]], Solution],
        requests: Sequence[Rows],
        wanted: Sequence[Tensor] | None,
        adjoint: Adjoint = "reverse",
    ) -> Cost:
        forward: Any = "exact" if adjoint == "fresh" else recipe.forward
        operator = TimedOperator(f, x_t, forward=forward, adjoint=adjoint)
        if x_t.is_cuda:
            torch.cuda.reset_peak_memory_stats(x_t.device)
        begun = now(x_t)
        solution = solve(operator, requests)
        seconds = now(x_t) - begun
        error = None
        if wanted is not None:
            error = max(
                subspace_error(found.right, right)
                for found, right in zip(solution.triplets, wanted, strict=True)
            )
        return Cost(operator.products, operator.evaluations, seconds, operator.seconds, error, _peak(x_t))

    run(krylov, pairs[0], None)  # the first run of a network is slower than the others
    say("the shared space, all regions at once")
    ours = run(krylov, [*inside, *outside], truth)
    say("the shared space, each region alone")
    count = len(rois)
    alone = [run(krylov, pair, truth and [truth[k], truth[count + k]]) for k, pair in enumerate(pairs)]
    fewer = run(krylov, [*inside[1:], *outside[1:]], None)
    say(f"the published procedure, {ROUNDS} rounds a region and a complement")
    theirs = run(power, [*inside, *outside], truth, "fresh")
    middle = sorted(alone, key=lambda cost: cost.products)[len(alone) // 2]
    single = ROUNDS * 2 * (recipe.rank + recipe.null_rank)
    return {
        "products_ratio": round(theirs.products / ours.products, 2),
        "wall_ratio": round(theirs.seconds / ours.seconds, 2),
        "subspace_error": ours.subspace_error,
        "subspace_error_power": theirs.subspace_error,
        "single_roi_products_ratio": round(single / middle.products, 2),
        "further_roi_products": ours.products - fewer.products,
        "outside_network": round(1 - ours.network_seconds / ours.seconds, 4),
        "rois": [roi.name for roi in rois],
        "t": recipe.t,
        "rank": recipe.rank,
        "null_rank": recipe.null_rank,
        "tol": recipe.tol,
        "device": torch.cuda.get_device_name(x_t.device) if x_t.is_cuda else "cpu",
        "threads": torch.get_num_threads(),
        "inversion_seconds": round(inversion, 3),
        "krylov": vars(ours),
        "power": vars(theirs),
        "alone": {roi.name: vars(cost) for roi, cost in zip(rois, alone, strict=True)},
    }


def _peak(x: Tensor) -> int:
    if x.is_cuda:
        return int(torch.cuda.max_memory_allocated(x.device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
