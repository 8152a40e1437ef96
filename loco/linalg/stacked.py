"""Several Jacobians as one operator: their rows one after the other, over the root of their number.

With J the rows of J_1 to J_K over sqrt(K), J'MJ is the mean of the J_k' M J_k. So the right singular vectors of J are
the directions of the greatest mean squared response, and ||M J v|| is its root: nothing else of a solver has to know.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.linalg.jacobian import JacobianOperator


class Stacked:
    """Such an operator; what its parts spend is what it spends."""

    def __init__(self, parts: Sequence[JacobianOperator]) -> None:
        """Take the Jacobians, all of one size."""
        self.parts = tuple(parts)
        self._scale = len(self.parts) ** -0.5

    @property
    def size(self) -> int:
        """D, the length of a vector that it takes."""
        return self.parts[0].size

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the vectors."""
        return self.parts[0].dtype

    @property
    def chunk(self) -> int:
        """Vectors that each part takes at a time, the least of them."""
        return min(part.chunk for part in self.parts)

    @property
    def products(self) -> int:
        """Products made so far, of all parts: one of this operator is one of each."""
        return sum(part.products for part in self.parts)

    @property
    def evaluations(self) -> int:
        """Network evaluations spent by all parts."""
        return sum(part.evaluations for part in self.parts)

    @property
    def adjoint(self) -> str:
        """How J' u is formed: `symmetric` where it is for any part."""
        kinds = [part.adjoint for part in self.parts]
        return "symmetric" if "symmetric" in kinds else kinds[0]

    def mv(self, v: Tensor) -> Tensor:
        """J v [k, K M] for each row of v [k, D]."""
        return torch.cat([part.mv(v) for part in self.parts], dim=1) * self._scale

    def rmv(self, u: Tensor) -> Tensor:
        """J' u [k, D] for each row of u [k, K M]."""
        pieces = u.split(u.shape[1] // len(self.parts), dim=1)
        return (
            torch.stack([one.rmv(piece) for one, piece in zip(self.parts, pieces, strict=True)]).sum(0)
            * self._scale
        )


def stacked(parts: Sequence[JacobianOperator]) -> JacobianOperator | Stacked:
    """The Jacobians as one operator; a single one as it is."""
    return parts[0] if len(parts) == 1 else Stacked(parts)
