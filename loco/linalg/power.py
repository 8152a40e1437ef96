"""The generalized power method for one set of rows at a time: the published solver, kept to compare with.

    V <- orthonormal random [k, D];  repeat:  U = M J V,  V <- right singular vectors of J' U.

It stops after `max_rounds`, 50 in the published code, whose own test compares signed entries of V and with several
vectors is never met. The singular value of v is ||M J v||, as read off the last round.

References: LOCO Edit (Chen et al., 2024), Algorithm 2, arXiv 2409.02374; Haas et al., arXiv 2303.11073, Algorithm 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.linalg.krylov import SILENT, Operator, Rows, Solution, Space, Triplets, nothing

ROUNDS = 50
"""Rounds of the published code."""


def power_svds(
    operator: Operator, requests: Sequence[Rows], *, tol: float, max_rounds: int = ROUNDS, seed: int = 0
) -> Solution:
    """Leading right singular triplets for each request, each iterated alone for `max_rounds`.

    A request has converged when each residual ||J'M u - s v|| / s is within `tol`; the subspace's error is estimated
    by the largest residual. The space holds what was found, with its images.
    """
    if not any(request.rank for request in requests):
        return nothing(operator, requests)
    found, bases, images = [], [], []
    for request in requests:
        triplets, right, image = _alone(operator, request, tol, max_rounds, seed)
        found.append(triplets)
        bases.append(right)
        images.append(image)
    # The requests' vectors are not orthogonal to each other: one basis of all, with its images by the same mixing.
    stacked, answers = torch.cat(bases), torch.cat(images)
    left, values, right = torch.linalg.svd(stacked, full_matrices=False)
    kept = values > 1e-5 * values[:1].sum()
    mixing = (left[:, kept] / values[kept]).T
    return Solution(tuple(found), Space(right[kept], mixing @ answers), max_rounds)


def _alone(
    operator: Operator, request: Rows, tol: float, max_rounds: int, seed: int
) -> tuple[Triplets, Tensor, Tensor]:
    if not request.rank:
        none = nothing(operator, [request])
        return none.triplets[0], none.space.basis, none.space.images
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn((operator.size, request.rank), generator=generator, dtype=torch.float64)
    v = torch.linalg.qr(draw)[0].T.to(request.mask.device, operator.dtype)
    for _ in range(max_rounds):
        image = operator.mv(v)
        pulled = operator.rmv(image * request.mask)  # J'MJ v, as v is orthonormal
        old, v = v, torch.linalg.svd(pulled, full_matrices=False)[2]
    # Rayleigh-Ritz on the last block whose images are known, so that values and residuals cost no further product.
    gram = (image * request.mask).double() @ (image * request.mask).double().T
    eigenvalues, vectors = torch.linalg.eigh(gram)
    values = eigenvalues.flip(0).clamp_min(0).sqrt()
    kept = int((values > max(SILENT * float(values[:1].sum()), 1e-30)).sum())
    rotation = vectors.flip(1).T[:kept].to(operator.dtype)
    values, right = values[:kept].to(operator.dtype), rotation @ old
    residuals = ((rotation @ pulled) / values[:, None] - values[:, None] * right).norm(dim=1) / values
    error = float(residuals.max()) if kept else 0.0
    triplets = Triplets(values, right, residuals, error, error <= tol, float(eigenvalues.clamp_min(0).sum()))
    return triplets, old, image
