"""From singular vectors to directions: null-space projection, its constrained alternative, and the sign.

The projection is that of LOCO Edit, Algorithm 1, steps 5 and 6. It removes the leading right singular vectors of the
rest of the image, however little a direction has to do with them, and keeps what lies behind them. The constrained
direction weighs both sides instead: within the space, it maximises

    ||J_roi v||^2 / (||J_rest v||^2 + ridge ||v||^2),

a generalised symmetric eigenproblem of the size of the space, solved by its Cholesky factor.
"""

import torch
from torch import Tensor


def project_out(v: Tensor, basis: Tensor) -> Tensor:
    """(I - B'B) v for each row of v [k, D], with orthonormal rows B [r, D]; not normalised."""
    for _ in range(2):  # the second pass removes what rounding left of the first
        v = v - (v @ basis.T) @ basis
    return v


def canonical_sign(v: Tensor) -> Tensor:
    """Rows of v [k, D] with the sign that makes the sum of cubes positive, so that two seeds agree.

    The cube weighs the large entries, which rounding does not turn; a plain sum can be near zero.
    """
    sign = torch.sign(v.pow(3).sum(dim=1, keepdim=True))
    return v * torch.where(sign == 0, torch.ones_like(sign), sign)


def grams(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrices [n, n] float64 of images J Q [n, M] of a space: of the rows inside `mask` [M] bool, and outside."""
    wide = images.double()
    inside, outside = (images * mask).double() @ wide.T, (images * ~mask).double() @ wide.T
    return (inside + inside.T) / 2, (outside + outside.T) / 2


def positive(gram: Tensor) -> Tensor:
    """The positive semidefinite matrix nearest to a symmetric [n, n] one.

    Where each block of rows was estimated from other images, what should be a Gram matrix has negative eigenvalues.
    """
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0)) @ vectors.T


def constrained(space: Tensor, inside: Tensor, outside: Tensor, ridge: float, count: int) -> Tensor:
    """Unit rows [k <= count, D] of the span of `space`, best first, that respond inside a region and not outside.

    Args:
        space: Orthonormal rows Q [n, D].
        inside, outside: Q J'MJ Q' of the region's rows and of all others, symmetric [n, n] float64 (`grams`).
        ridge: Added to the squared response outside, greater than 0, in units of squared singular values.
        count: Directions wanted; each is orthogonal to the ones before it in the metric of the denominator.
    """
    eye = torch.eye(len(space), dtype=torch.float64, device=space.device)
    factor = torch.linalg.cholesky(outside + ridge * eye)
    half = torch.linalg.solve_triangular(factor, inside, upper=False)
    quotient = torch.linalg.solve_triangular(factor, half.T, upper=False)
    _, vectors = torch.linalg.eigh((quotient + quotient.T) / 2)
    weights = torch.linalg.solve_triangular(factor.T, vectors.flip(1)[:, :count], upper=True)
    return torch.nn.functional.normalize(weights.T.to(space.dtype) @ space, dim=1)
