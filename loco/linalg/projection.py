"""Null-space projection and the sign convention (LOCO Edit, Algorithm 1, steps 5 and 6)."""

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
