"""Leading right singular vectors of row restrictions of one operator, in one shared Krylov space.

For a set of rows M (a diagonal 0/1 matrix) the wanted triplets satisfy M J v = s u and J' M u = s v. Every region of
an image and every complement is such a row restriction of the same J, so one pair of orthonormal bases serves them
all: Q on the right with its images W = J Q, and P on the left with B = J' P. A round of the solver

    1. solves the small problem of each set of rows: eigenvectors y of Q'J'MJQ give v = Q y, s, u = M W y / s,
    2. projects the left vectors u of all sets onto P, where J' is known, and appends to P (products J') the few
       combinations of what is left that matter,
    3. forms the residuals r = J' M u - s v, and
    4. appends to Q (products J) the few combinations of them that matter.

It is block Golub-Kahan with full reorthogonalisation, in which each block is the *weighted leading part* of what all
sets of rows ask for: neighbouring regions and complements ask for nearly the same vectors, and are answered once.

The weight, and the test of convergence, is what a residual does to the wanted subspace. To first order the part of the
i-th vector outside of it is (s_i^2 - H)^-1 s_i r_i, where H is J'MJ on the rest; its length is s_i ||r_i|| over
s_i^2 - theta, where theta is the Rayleigh quotient of the residual. The quotient is known as soon as the residual has
been appended, and the last one is used for the next. With theta = s_(r+1)^2 that would be the bound of Davis and Kahan,
safe and, where the spectrum is flat, ten times too large. The test is blind to signs and to rotations inside the
subspace, which an elementwise comparison of iterates is not.

References: Golub & Van Loan, Matrix Computations, 10.4; Davis & Kahan, 1970; Hallman, arXiv 2105.11589 (randUBV).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

SILENT = 1e-6
"""Singular values below this fraction of the largest are rounding: such a vector is not a direction of the rows."""

BLOCK = (4, 16)
"""Vectors appended to either basis in a round at most: half as many as are wanted, within these bounds. Fewer need
fewer products, as each is chosen knowing all before it; more fill a batch better."""

START_ROWS, START_ALL = 1, 3
"""Random left vectors of the start: on each small set of rows, and on all rows together (at least as many as are wanted
where the values are no image: of tied values a block finds no more than it has vectors)."""

SMOOTH = (1.6, 6, 0.2)
"""Where the values are an image the random start falls with the spatial frequency f, in cycles an image, as
(1 + f / 1.6)^-6: what images vary in is smooth. White noise of 0.2 of its length keeps all the rest in sight."""

TIED = 0.02
"""Squared singular values closer than this fraction are taken as tied: their subspace cannot be told apart."""

SAFETY = 1.25
"""The estimate of the error is multiplied by it before it is compared with the tolerance."""

NEGLIGIBLE = 0.7
"""A direction that adds less than this fraction of the tolerance to every error is not worth a product."""


class Operator(Protocol):
    """A linear map from D to M entries given by block products; vectors are rows."""

    @property
    def size(self) -> int:
        """D, the length of a vector that it takes."""

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the vectors."""

    def mv(self, v: Tensor) -> Tensor:
        """J v [k, M] for each row of v [k, D]."""

    def rmv(self, u: Tensor) -> Tensor:
        """J' u [k, D] for each row of u [k, M]."""


@dataclass(frozen=True)
class Rows:
    """A request: the leading `rank` triplets of the rows where `mask` [M] is True."""

    mask: Tensor
    rank: int


@dataclass(frozen=True)
class Triplets:
    """Leading singular triplets of one set of rows, largest first; fewer than asked where the rank is lower.

    Attributes:
        values: s [r].
        right: v [r, D], orthonormal.
        residuals: ||J'M u - s v|| / s, [r].
        error: Estimated sine of the angle between the span of `right` and the wanted subspace.
        converged: Whether `error` is within the tolerance.
        energy: Sum of all squared singular values seen in the space, at least that of `values`.
    """

    values: Tensor
    right: Tensor
    residuals: Tensor
    error: float
    converged: bool
    energy: float


@dataclass(frozen=True)
class Space:
    """An orthonormal basis Q [n, D] with its images W = J Q [n, M]: J of anything in its span costs nothing."""

    basis: Tensor
    images: Tensor

    def image(self, v: Tensor) -> Tensor:
        """J v for rows v [k, D] in the span."""
        return (v @ self.basis.T) @ self.images


@dataclass(frozen=True)
class Solution:
    """What `row_svds` found: triplets for each request, the space they lie in, and the rounds it took."""

    triplets: tuple[Triplets, ...]
    space: Space
    rounds: int


def row_svds(
    operator: Operator,
    requests: Sequence[Rows],
    *,
    tol: float,
    max_rounds: int,
    seed: int = 0,
    start: Tensor | None = None,
    grid: Sequence[int] | None = None,
) -> Solution:
    """Leading right singular triplets for each request, from one shared space.

    `tol` bounds the estimated sine of each subspace's error; after `max_rounds` what has not converged is returned as
    it stands, marked. The start is random with the given seed; right vectors of a kindred problem (another t, another
    seed, a neighbour) can be given as `start` [k, D]. `grid` [C, H, W] is the shape of the M values where they are an
    image: it makes the start a better one.
    """
    if not any(request.rank for request in requests):
        return nothing(operator, requests)
    left = _start(operator, requests, seed, grid)
    pulled = operator.rmv(left)
    space = orthonormal(pulled if start is None else torch.cat([start.to(pulled), pulled]), pulled[:0])
    images = operator.mv(space)
    wide = images.double()  # Gram matrices square the errors
    problems = [_Problem(request) for request in requests]
    block = min(BLOCK[1], max(BLOCK[0], sum(request.rank for request in requests) // 2))
    for problem in problems:
        problem.extend(wide, len(wide))
    rounds = 0
    while True:
        rounds += 1
        solved = [problem.solve(space, images) for problem in problems]
        # The weight of a left vector: what it would add to the error if its part outside P were lost.
        lefts = torch.cat([one.left for one in solved])
        weights = torch.cat([one.response * one.weights(tol) for one in solved])
        fresh = leading(lefts, weights, left, block)
        if len(fresh):
            left = torch.cat([left, fresh])
            pulled = torch.cat([pulled, operator.rmv(fresh)])
        results, wanted = _judged(solved, lefts, left, pulled, space, tol)
        open_ones = [number for number, one in enumerate(results) if not one.converged]
        if rounds >= max_rounds or not open_ones:
            break
        new = leading(
            torch.cat([wanted[number] for number in open_ones]),
            torch.cat([solved[number].weights(tol) for number in open_ones]),
            space,
            block,
        )
        if not len(new):
            if not len(fresh):
                break  # nothing that matters is left to add: rounding stands in the way
            continue
        responses = operator.mv(new)
        for number, problem in enumerate(problems):
            problem.learn(wanted[number] @ new.T, responses)
        space, images = torch.cat([space, new]), torch.cat([images, responses])
        wide = torch.cat([wide, responses.double()])
        for problem in problems:
            problem.extend(wide, len(new))
    return Solution(tuple(results), Space(space, images), rounds)


def _judged(
    solved: Sequence["_Solved"], lefts: Tensor, left: Tensor, pulled: Tensor, space: Tensor, tol: float
) -> tuple[list[Triplets], list[Tensor]]:
    """The triplets with how exact they are, and the parts [r, D] of their residuals that are not in the space.

    `lefts` are the left vectors of all requests, `pulled` = J' `left` is what is known of J'.
    """
    counts = [len(one.values) for one in solved]
    inside = lefts @ left.T
    products = (inside @ pulled).split(counts)
    # What J' is not known of: taken to be as strong as it answers elsewhere.
    lost = (lefts - inside @ left).norm(dim=1).split(counts)
    results, wanted = [], []
    for one, product, gone in zip(solved, products, lost, strict=True):
        residual = product - one.values[:, None] * one.right
        outside = residual - (residual @ space.T) @ space
        missed = one.response * gone
        lengths = torch.hypot(outside.norm(dim=1), missed) * one.weights(tol)
        error = float(lengths.double().norm()) * tol
        relative = torch.hypot(residual.norm(dim=1), missed) / one.values
        results.append(Triplets(one.values, one.right, relative, error, error <= tol, one.energy))
        wanted.append(outside)
    return results, wanted


def nothing(operator: Operator, requests: Sequence[Rows]) -> Solution:
    """The solution when no triplet is asked for."""
    mask = requests[0].mask if requests else torch.zeros(operator.size, dtype=torch.bool)
    empty = torch.zeros((0, operator.size), dtype=operator.dtype, device=mask.device)
    none = Triplets(empty[:, 0], empty, empty[:, 0], 0.0, True, 0.0)
    return Solution((none,) * len(requests), Space(empty, empty.new_zeros((0, len(mask)))), 0)


@dataclass(frozen=True)
class _Solved:
    """Ritz values s [r], right vectors v [r, D] and left vectors u [r, M] of one request.

    Attributes:
        gaps: Squares of the values less the quotient of what would mix with their vectors, [r].
        response: How strongly J' answers to a part of a left vector that it was not yet asked about.
        energy: Sum of all squared Ritz values.
    """

    values: Tensor
    right: Tensor
    left: Tensor
    gaps: Tensor
    response: float
    energy: float

    def weights(self, tol: float) -> Tensor:
        """What turns the length of each residual into units of the tolerance, [r]."""
        return self.values * (SAFETY / (self.gaps * tol))


class _Problem:
    """The small problem of one request: its Gram matrix grows with the space."""

    def __init__(self, request: Rows) -> None:
        self.mask, self.rank = request.mask, request.rank
        self.gram = torch.zeros((0, 0), dtype=torch.float64, device=request.mask.device)
        self.known: float | None = None

    def extend(self, images: Tensor, fresh: int) -> None:
        """Take the images [n, M] float64 of all columns, the last `fresh` of which were appended."""
        old, total = len(images) - fresh, len(images)
        block = (images[old:] * self.mask) @ images.T
        gram = block.new_zeros((total, total))
        gram[:old, :old] = self.gram
        gram[old:], gram[:, old:] = block, block.T
        self.gram = (gram + gram.T) / 2

    def solve(self, space: Tensor, images: Tensor) -> _Solved:
        """Rayleigh-Ritz."""
        eigenvalues, vectors = torch.linalg.eigh(self.gram)
        squares = eigenvalues.flip(0).clamp_min(0)
        values = squares[: self.rank].sqrt()
        kept = int((values > max(SILENT * float(values[:1].sum()), 1e-30)).sum())
        values = values[:kept].to(space.dtype)
        weights = vectors.flip(1).T[:kept].to(space.dtype)
        left = (weights @ images) * self.mask / values[:, None]
        last = float(squares[kept - 1]) if kept else 0.0
        after = float(squares[kept]) if len(squares) > kept else 0.7 * last
        # A residual's quotient lies below what follows s_r; until one is known, somewhat below.
        quotient = min(0.7 * after if self.known is None else self.known, after)
        gaps = (squares[:kept] - quotient).clamp_min(max(TIED * last, 1e-30)).to(space.dtype)
        response = max(quotient, 0.1 * last) ** 0.5
        return _Solved(values, weights @ space, left, gaps, response, float(squares.sum()))

    def learn(self, coefficients: Tensor, responses: Tensor) -> None:
        """The Rayleigh quotient of the residuals [k, n], now that their images [n, D] are known."""
        if not len(coefficients):
            return
        norms = coefficients.norm(dim=1)
        quotients = ((coefficients @ responses) * self.mask).norm(dim=1) / norms.clamp_min(1e-30)
        if bool((norms > 0).any()):
            self.known = float(quotients[norms > 0].max()) ** 2


def _start(operator: Operator, requests: Sequence[Rows], seed: int, grid: Sequence[int] | None) -> Tensor:
    """Orthonormal random left vectors [k, M]: some on each set of few rows, some on all."""
    generator = torch.Generator().manual_seed(seed)
    device, size = requests[0].mask.device, len(requests[0].mask)
    blocks = []
    for request in requests:
        count = int(request.mask.sum())
        if request.rank and 2 * count <= size:
            # Drawn in float64 on the CPU, so that device and dtype do not change the start.
            draw = torch.randn((min(START_ROWS, count), size), generator=generator, dtype=torch.float64)
            blocks.append(smoothed(draw, grid).to(device) * request.mask)
    most = 0 if grid is not None else max(request.rank for request in requests)
    count = min(max(START_ALL, most), size)
    draw = torch.randn((count, size), generator=generator, dtype=torch.float64)
    blocks.append(smoothed(draw, grid).to(device))
    block = torch.cat(blocks).to(operator.dtype)
    return orthonormal(block, block[:0])


def smoothed(draw: Tensor, grid: Sequence[int] | None) -> Tensor:
    """White noise [k, M] with the spectrum that `SMOOTH` says, where M is an image of shape `grid`; else as it is."""
    if grid is None:
        return draw
    edge, power, white = SMOOTH
    height, width = grid[-2:]
    across = torch.fft.fftfreq(width, 1 / width, dtype=draw.dtype)
    down = torch.fft.fftfreq(height, 1 / height, dtype=draw.dtype)
    falling = (1 + torch.hypot(down[:, None], across) / edge) ** -power
    image = torch.fft.ifft2(torch.fft.fft2(draw.reshape(-1, height, width)) * falling).real.reshape(
        draw.shape
    )
    unit = torch.nn.functional.normalize
    return unit(image, dim=1) + white * unit(draw, dim=1)


def leading(block: Tensor, weights: Tensor, space: Tensor, most: int) -> Tensor:
    """At most `most` orthonormal rows, off `space`, for the leading directions of the weighted block that matter."""
    if not len(block):
        return block
    weighted = block * weights[:, None]
    weighted = weighted - (weighted @ space.T) @ space  # once is enough to choose by
    eigenvalues, vectors = torch.linalg.eigh(weighted.double() @ weighted.double().T)
    order = torch.arange(len(eigenvalues) - 1, -1, -1, device=eigenvalues.device)[:most]
    # Below the second bound lies what rounding made of the first.
    order = order[eigenvalues[order] > max(NEGLIGIBLE**2, 1e-14 * float(eigenvalues.max()))]
    rows = vectors[:, order].T.to(block.dtype) @ weighted
    return orthonormal(torch.nn.functional.normalize(rows, dim=1), space)


def orthonormal(block: Tensor, space: Tensor) -> Tensor:
    """Orthonormal rows that span `block` off `space`; rows that add nothing are dropped.

    Two passes of Gram-Schmidt against the space (twice is enough: Giraud et al., 2005) round an SVD of the rest.
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
    return torch.linalg.qr(kept.T)[0].T.contiguous() if len(kept) else kept
