"""Leading eigenvectors of means of J_i' M_i J_i over many Jacobians: block Krylov by rounds, each a map and a sum.

    A_p = sum_i w_pi J_i' M_pi J_i / sum_i w_pi        for each p: a region's rows, or the rest's, of every image

In a round every J_i is asked for A_p's part of one block of vectors, and only the sum of the answers is kept, [P, k, D]
(`parts`, `Sums`). From A_p of all blocks so far follow, without asking again, the Rayleigh quotients of the space that
they span, the residuals A_p v - theta v of its best vectors and from these the next block (`Pool`): a block Lanczos
process with full orthogonalisation, shared by all p. One product serves every p; a transposed one is needed for each.

Sums are of whole numbers, in steps of `GRAIN`, so that they are the same bits in whatever order and in whatever pieces
they are added. The sums of two halves of the Jacobians are kept apart: within the space, each half has an answer of its
own, and the angle between them and the whole's tells what another choice of images would have changed.

Convergence is tested as in `loco.linalg.krylov`, by what a residual does to the wanted subspace.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loco.linalg.krylov import BLOCK, SAFETY, SILENT, TIED, Operator, Triplets, leading, orthonormal

GRAIN = 2.0**-36
"""What sums are counted in: contributions are of the order of 1 and their rounding adds up to nothing."""

_MOST = 2**62


def counted(part: Tensor) -> Tensor:
    """A contribution in whole numbers of `GRAIN`, int64 on the CPU; raises `FloatingPointError` for what is none."""
    scaled = part.double().cpu() / GRAIN
    if not bool((scaled.abs() < _MOST).all()):
        raise FloatingPointError("a contribution to a mean over images is not finite, or too large")
    return scaled.round().to(torch.int64)


def parts(
    operator: Operator, masks: Sequence[Tensor | None], block: Tensor, weights: Sequence[float]
) -> Tensor:
    """What one Jacobian adds to the sums, [2 R, k, D] int64: w J'MJ of a block [k, D] for each region, then each rest.

    `masks` are the regions' rows [M] bool, None for a region that this Jacobian has none of: it adds nothing then.
    """
    images = operator.mv(block)
    # One after the other, of a size: a graph of so many copies of the network serves all of them.
    whole = operator.rmv(images)
    inside = [operator.rmv(images * mask) for mask in masks if mask is not None]
    found = counted(block.new_zeros((2 * len(masks), *block.shape)))
    for number, (mask, weight) in enumerate(zip(masks, weights, strict=True)):
        if mask is not None:
            here = inside.pop(0)
            found[number] = counted(weight * here)
            found[len(masks) + number] = counted(weight * (whole - here))
    return found


@dataclass(frozen=True)
class Sums:
    """What the Jacobians of a round came to, in two halves.

    Attributes:
        products: Sums of their parts, [2, P, k, D] int64.
        weights: Sums of their weights, [2, P].
    """

    products: Tensor
    weights: Tensor

    def __add__(self, other: "Sums") -> "Sums":
        """Both together; in any order the same bits."""
        return Sums(self.products + other.products, self.weights + other.weights)


@dataclass(frozen=True)
class Pool:
    """The space so far, what the means make of it, and the block that is asked about next.

    Attributes:
        ranks: Eigenvectors wanted of each mean, P numbers.
        tol: Bound on the estimated sine of each subspace's error.
        basis: Orthonormal rows Q [n, D].
        products: A_p Q, [P, n, D].
        grams: Q A_p Q' of the two halves, [2, P, n, n] float64, not symmetrised.
        fresh: Orthonormal rows [k, D] off Q; none once there is nothing more to ask.
        quotients: For each mean the Rayleigh quotient of its last residuals, NaN before there were any, [P].
        rounds: Blocks asked about.
    """

    ranks: tuple[int, ...]
    tol: float
    basis: Tensor
    products: Tensor
    grams: Tensor
    fresh: Tensor
    quotients: Tensor
    rounds: int = 0

    @classmethod
    def begin(cls, start: Tensor, ranks: Sequence[int], tol: float) -> "Pool":
        """A pool that asks about the span of `start` [k, D] first."""
        none, means = start[:0], len(ranks)
        double = {"dtype": torch.float64, "device": start.device}
        return cls(
            tuple(ranks),
            tol,
            none,
            none.expand(means, *none.shape).clone(),
            torch.zeros((2, means, 0, 0), **double),  # type: ignore[call-overload]
            orthonormal(start, none),
            torch.full((means,), torch.nan, **double),  # type: ignore[call-overload]
        )

    def solved(self) -> list[Triplets]:
        """For each mean its leading eigenvectors as triplets: `values` are the eigenvalues' roots."""
        return [one.triplets for one in self._solved()]

    def half(self, number: int) -> list[Triplets] | None:
        """For each mean the leading eigenvectors by one half of the Jacobians, in the space; None if it has none."""
        if not bool(self.grams[number].any()):
            return None
        found = []
        for p, rank in enumerate(self.ranks):
            eigenvalues, vectors = torch.linalg.eigh(self.gram(p, number))
            squares = eigenvalues.flip(0).clamp_min(0)
            values = squares[:rank].sqrt().to(self.basis.dtype)
            right = vectors.flip(1).T[:rank].to(self.basis.dtype) @ self.basis
            found.append(Triplets(values, right, torch.zeros_like(values), 0.0, True, float(squares.sum())))
        return found

    def gram(self, p: int, half: int | None = None) -> Tensor:
        """Q A_p Q' of all Jacobians or of one half, [n, n] float64, symmetric."""
        own = None if half is None else self.grams[half, p]
        whole = self.products[p].double() @ self.basis.double().T if own is None else own
        return (whole + whole.T) / 2

    def extended(self, sums: Sums) -> "Pool":
        """The pool with the fresh block's products in it, and another fresh block where one is needed."""
        total = sums.products.sum(0).double() * GRAIN
        weight = sums.weights.sum(0).clamp_min(1e-300)
        exact = (total / weight[:, None, None]).to(self.basis.device)
        fresh, answers = self.fresh, exact.to(self.basis.dtype)
        quotients = self.quotients.clone()
        if self.rounds:
            for p, one in enumerate(self._solved()):
                quotient = _quotient(one.wanted @ fresh.T, exact[p] @ fresh.double().T)
                quotients[p] = quotients[p] if quotient is None else quotient
        basis = torch.cat([self.basis, fresh])
        halves = sums.products.double() * GRAIN / sums.weights.clamp_min(1e-300)[:, :, None, None]
        rows = halves.to(basis.device) @ basis.double().T  # [2, P, k, n + k]
        old, k = len(self.basis), len(fresh)
        grams = rows.new_zeros((2, len(self.ranks), old + k, old + k))
        grams[:, :, :old, :old] = self.grams
        grams[:, :, old:, :], grams[:, :, :, old:] = rows, rows.transpose(2, 3)
        grown = replace(
            self,
            basis=basis,
            products=torch.cat([self.products, answers], dim=1),
            grams=grams,
            fresh=fresh[:0],
            quotients=quotients,
            rounds=self.rounds + 1,
        )
        return replace(grown, fresh=grown._next())

    def _next(self) -> Tensor:
        """The block to ask about next: the leading directions of the residuals of what has not converged."""
        open_ones = [one for one in self._solved() if not one.triplets.converged]
        if not open_ones:
            return self.basis[:0]
        block = min(BLOCK[1], max(BLOCK[0], sum(self.ranks) // 2))
        wanted, weights = (
            torch.cat([getattr(one, name) for one in open_ones]) for name in ("wanted", "weights")
        )
        return leading(wanted, weights, self.basis, block)

    def _solved(self) -> list["_Solved"]:
        return [self._one(p, rank) for p, rank in enumerate(self.ranks)]

    def _one(self, p: int, rank: int) -> "_Solved":
        eigenvalues, vectors = torch.linalg.eigh(self.gram(p))
        squares = eigenvalues.flip(0).clamp_min(0)
        top = float(squares[:1].sum())
        kept = int((squares[:rank] > max(SILENT**2 * top, 1e-60)).sum())
        theta = squares[:kept]
        coefficients = vectors.flip(1).T[:kept].to(self.basis.dtype)
        right = coefficients @ self.basis
        residual = coefficients @ self.products[p] - theta[:, None].to(right.dtype) * right
        wanted = residual - (residual @ self.basis.T) @ self.basis
        last = float(theta[-1]) if kept else 0.0
        after = float(squares[kept]) if len(squares) > kept else 0.7 * last
        known = float(self.quotients[p])
        # A residual's quotient lies below what follows; until one is known, somewhat below.
        quotient = min(0.7 * after if known != known else known, after)
        gaps = (theta - quotient).clamp_min(max(TIED * last, 1e-60))
        weights = (SAFETY / (gaps * self.tol)).to(right.dtype)
        error = float((wanted.norm(dim=1) * weights).double().norm()) * self.tol
        relative = (residual.norm(dim=1).double() / theta).to(right.dtype)
        values = theta.sqrt().to(right.dtype)
        energy = float(squares.sum())
        return _Solved(Triplets(values, right, relative, error, error <= self.tol, energy), wanted, weights)


@dataclass(frozen=True)
class _Solved:
    """Triplets of one mean, the parts [r, D] of their residuals outside the space, and what these weigh [r]."""

    triplets: Triplets
    wanted: Tensor
    weights: Tensor


def _quotient(coefficients: Tensor, gram: Tensor) -> float | None:
    """The greatest Rayleigh quotient of residuals with these coefficients [r, k] in a block of that Gram matrix."""
    lengths = coefficients.double().square().sum(dim=1)
    if not bool((lengths > 0).any()):
        return None
    squares = ((coefficients.double() @ gram) * coefficients.double()).sum(dim=1)
    return float((squares / lengths.clamp_min(1e-300))[lengths > 0].max())


def agreement(whole: Tensor, halves: Sequence[Tensor]) -> Tensor:
    """How near each row of `whole` [k, D] lies to the span of each half's rows: the least cosine, in [0, 1], [k]."""
    cosines = [(whole @ torch.linalg.qr(half.T)[0]).norm(dim=1) for half in halves if len(half)]
    return torch.stack(cosines).amin(0).clamp_max(1) if cosines else whole.new_ones(len(whole))
