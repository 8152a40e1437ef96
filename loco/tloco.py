"""Directions told in words: text-supervised T-LOCO (LOCO Edit, arXiv 2409.02374, Algorithm 4).

With f_o the posterior mean under the original prompt, f_e the edited one (`loco.diffusion.guidance.Edited`),
d = f_e - f_o and M the rows of a region,

    v = J_e' M d,

the gradient of <M f_e, M d> with d held fixed: of all small moves of x_t, the one along which f_e goes furthest towards
what the words ask for, in the region. One transposed product; its sign is the edit's own. What is projected away
comes from J_o, and the edit is denoised with the original prompt alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.linalg.krylov import Operator, Triplets


def pulled_back(wanted: Tensor, edited: Operator, masks: Sequence[Tensor]) -> list[Triplets]:
    """J_e' M d as a unit vector for each region's rows [M] bool; none where the words change nothing in it.

    `wanted` is d [M]. The value is ||J_e' u|| for the unit vector u along M d: how strongly the region follows.
    """
    found = []
    for mask in masks:
        inside = wanted * mask
        length = float(inside.norm())
        pulled = edited.rmv(inside[None] / length) if length > 0 else wanted.new_zeros((0, edited.size))
        values = pulled.norm(dim=1)
        kept = values > 0
        right = torch.nn.functional.normalize(pulled[kept], dim=1)
        exact = torch.zeros_like(values[kept])
        found.append(Triplets(values[kept], right, exact, 0.0, True, float(values.square().sum())))
    return found
