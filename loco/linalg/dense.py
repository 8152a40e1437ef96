"""The whole Jacobian where it is small, and what dense algebra says of it: the truth that solvers are measured by."""

from collections.abc import Callable

import torch
from torch import Tensor

from loco.linalg.jacobian import JacobianOperator

BLOCK = 128
"""Rows formed at a time."""

ENERGY = 0.99**2
"""Share of the sum of squared singular values that the numerical rank holds (LOCO Edit, Eq. 10, eta = 0.99)."""


def dense_jacobian(operator: JacobianOperator, progress: Callable[[int], None] | None = None) -> Tensor:
    """J as a matrix [M, D] on the CPU, one reverse product for each row; `progress` is told rows."""
    size = operator.values
    rows = []
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        unit = torch.zeros((count, size), dtype=operator.dtype, device=operator.x.device)
        unit[torch.arange(count), start + torch.arange(count)] = 1
        rows.append(operator.rmv(unit).cpu())
        if progress is not None:
            progress(count)
    return torch.cat(rows)


def squared_singular_values(matrix: Tensor) -> Tensor:
    """sigma^2 of a matrix, float64, largest first."""
    wide = matrix.double()
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T if len(wide) <= wide.shape[1] else wide.T @ wide)
    return squares.clamp_min(0).flip(0)


def rank_ratio(squares: Tensor, share: float = ENERGY) -> float:
    """Smallest r whose top r values hold more than `share` of the sum of sigma^2, over their number (Eq. 10)."""
    cumulative = squares.cumsum(0) / squares.sum().clamp_min(1e-300)
    return min(int((cumulative <= share).sum()) + 1, len(squares)) / len(squares)


def energy(squares: Tensor, top: int) -> float:
    """Share of the sum of sigma^2 that the `top` largest hold."""
    return float(squares[:top].sum() / squares.sum().clamp_min(1e-300))


def asymmetry(matrix: Tensor) -> float:
    """||J - J'||_F / ||J||_F: 0 for the Jacobian of an exact posterior mean, which is a covariance."""
    return float((matrix - matrix.T).norm() / matrix.norm())


def leading(matrix: Tensor, mask: Tensor, rank: int) -> Tensor:
    """The top `rank` right singular vectors [rank, D] of the rows under `mask` [M] bool, by a dense eigenproblem."""
    rows = matrix[mask.cpu()].double()
    if len(rows) <= rows.shape[1] // 2:
        return torch.linalg.svd(rows, full_matrices=False)[2][:rank]
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    return vectors.flip(1).T[:rank]


def subspace_error(found: Tensor, wanted: Tensor) -> float:
    """Sine of the largest principal angle between the spans of orthonormal rows; 1 when their numbers differ."""
    if found.shape != wanted.shape:
        return 1.0
    a, b = found.double().cpu(), wanted.double()
    return float(torch.linalg.matrix_norm(a - a @ b.T @ b, 2)) if len(a) else 0.0
