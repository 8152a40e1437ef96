"""Leading right singular vectors of row restrictions of one operator, in one shared Krylov space.

For a set of rows M (a diagonal 0/1 matrix) the wanted triplets satisfy M J v = s u and J' M u = s v. Every region of
an image and every complement is such a row restriction of the same J, so one orthonormal basis Q serves them all:
once W = J Q is known, M W costs nothing. A round of the solver

    1. takes W = J Q for the new columns of Q,
    2. solves the small problem for each set of rows: the eigenvectors y of W' M W give v = Q y, s, u = M W y / s,
    3. forms the residuals r = J' M u - s v of the triplets that have not converged, and
    4. appends those residuals, orthonormalised against Q, to Q.

r is orthogonal to Q by construction (Rayleigh-Ritz), so step 4 is block Lanczos with full reorthogonalisation, shared
by all sets of rows. A triplet has converged when ||r|| <= tol * s; the test is blind to signs and to rotations among
equal singular values, which an elementwise comparison of iterates is not.

References: Golub & Van Loan, Matrix Computations, 10.4; Saad, Numerical Methods for Large Eigenvalue Problems, ch. 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

SILENT = 1e-6
"""Singular values below this fraction of the largest are rounding: such a vector is not a direction of the rows."""


class Operator(Protocol):
    """A square linear map given by block products; vectors are rows."""

    @property
    def size(self) -> int:
        """Length of a vector."""

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the vectors."""

    def mv(self, v: Tensor) -> Tensor:
        """J v for each row of v [k, D]."""

    def rmv(self, u: Tensor) -> Tensor:
        """J' u for each row of u [k, D]."""


@dataclass(frozen=True)
class Rows:
    """A request: the leading `rank` triplets of the rows where `mask` [D] is True."""

    mask: Tensor
    rank: int


@dataclass(frozen=True)
class Triplets:
    """Leading singular triplets of one set of rows, largest first; fewer than asked where the rank is lower.

    Attributes:
        values: s [r].
        right: v [r, D], orthonormal.
        residuals: ||J' M u - s v|| / s, [r].
        converged: Whether each residual is within the tolerance.
    """

    values: Tensor
    right: Tensor
    residuals: Tensor
    converged: Tensor


def row_svds(
    operator: Operator, requests: Sequence[Rows], *, tol: float, max_rounds: int, seed: int = 0
) -> list[Triplets]:
    """Leading right singular triplets for each request, from one shared space.

    `tol` bounds the relative residual; after `max_rounds` what has not converged is returned as it stands, marked.
    The starting block is random with the given seed, supported on each request's rows.
    """
    if not requests:
        return []
    space = _start(operator, requests, seed)
    images = operator.mv(space)
    while True:
        solved = [_rayleigh_ritz(space, images, request) for request in requests]
        transposed = _transposed(operator, solved, requests)
        max_rounds -= 1
        results, residuals = [], []
        for (values, right, _), product in zip(solved, transposed, strict=True):
            residual = product - values[:, None] * right
            relative = residual.norm(dim=1) / values
            results.append(Triplets(values, right, relative, relative <= tol))
            residuals.append(residual[relative > tol])
        fresh = _orthonormal(torch.cat(residuals), space)
        if max_rounds <= 0 or not len(fresh):
            return results
        space = torch.cat([space, fresh])
        images = torch.cat([images, operator.mv(fresh)])


def _start(operator: Operator, requests: Sequence[Rows], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for request in requests:
        rank = min(request.rank, int(request.mask.sum()))
        # Drawn in float64 on the CPU, so that device and dtype do not change the start.
        draw = torch.randn((rank, len(request.mask)), generator=generator, dtype=torch.float64)
        blocks.append(draw.to(request.mask.device) * request.mask)
    block = operator.rmv(torch.cat(blocks).to(operator.dtype))
    return _orthonormal(block, block[:0])


def _rayleigh_ritz(space: Tensor, images: Tensor, request: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values s [r], right vectors v [r, D] and left vectors u [r, D] (zero off the rows) of one request."""
    masked = images * request.mask
    # The Gram matrix squares the condition number; in float64 that costs nothing here and loses nothing.
    gram = masked.double() @ masked.double().T
    eigenvalues, vectors = torch.linalg.eigh(gram)
    rank = min(request.rank, len(space))
    order = torch.arange(len(space) - 1, len(space) - 1 - rank, -1, device=space.device)
    values = eigenvalues[order].clamp_min(0).sqrt()
    order = order[values > max(SILENT * float(values[:1].sum()), 1e-30)]
    values = values[: len(order)].to(space.dtype)
    weights = vectors[:, order].T.to(space.dtype)
    left = weights @ masked / values[:, None]
    return values, weights @ space, left


def _transposed(
    operator: Operator, solved: Sequence[tuple[Tensor, Tensor, Tensor]], requests: Sequence[Rows]
) -> list[Tensor]:
    """J' M u of every request in one block call."""
    product = operator.rmv(torch.cat([left for _, _, left in solved]))
    return list(product.split([len(values) for values, _, _ in solved]))


def _orthonormal(block: Tensor, space: Tensor) -> Tensor:
    """Orthonormal rows that span `block` off `space`; rows that add nothing are dropped.

    Two passes of Gram-Schmidt against the space (twice is enough: Giraud et al., 2005), then an SVD of the rest.
    """
    if not len(block):
        return block
    scale = block.norm(dim=1, keepdim=True)
    block = (block / scale.clamp_min(torch.finfo(block.dtype).tiny))[scale[:, 0] > 0]
    for _ in range(2):
        block = block - (block @ space.T) @ space
    _, values, right = torch.linalg.svd(block, full_matrices=False)
    kept = right[values > 1e-4 * max(1.0, float(values[:1].sum()))]
    kept = kept - (kept @ space.T) @ space
    return torch.nn.functional.normalize(kept, dim=1)
