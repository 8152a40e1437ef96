"""The Jacobian J of a map at a point, by products only.

For f: R^[C,H,W] -> R^[C',H',W'] at x, with D = C*H*W and M = C'*H'*W', `JacobianOperator` gives blocks of J v [k, M]
and of J' u [k, D]. Vectors are rows. f is called on batches and must treat the items of a batch independently.

J' u is exact: reverse mode over one graph that is built once and reused, about one forward pass a vector. J v is a
central difference by default, two forward passes a vector: on a CPU exact forward mode costs five, and a posterior
mean is so nearly linear that the difference agrees with it to about 2e-4 (tests/linalg/test_jacobian.py measures it).

References: LOCO Edit (Chen et al., 2024), Algorithm 2, arXiv 2409.02374.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

STEP = 40.0
"""Length of a central difference in units of eps^(1/3)."""

CHUNK = 16
"""Vectors differentiated at a time; bounds memory, changes no result."""


class JacobianOperator:
    """J = df/dx at one point; blocks in, blocks out; counts what it spends.

    Attributes:
        products: Products J v and J' u made so far, in single vectors.
        evaluations: Network evaluations spent, in single images.
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        forward: Literal["central", "exact"] = "central",
        chunk: int = CHUNK,
    ) -> None:
        """Take f: [B, C, H, W] -> [B, C', H', W'], the point x [C, H, W], and how J v is formed."""
        self.f, self.x, self.forward, self.chunk = f, x, forward, chunk
        self.products = 0
        self.evaluations = 0
        self._graph: tuple[Tensor, Tensor] | None = None

    @property
    def size(self) -> int:
        """D, the number of entries of x."""
        return self.x.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the vectors: that of x."""
        return self.x.dtype

    def mv(self, v: Tensor) -> Tensor:
        """J v for each row of v [k, D]; returns [k, M]. Raises `FloatingPointError` for what is not finite."""
        if v.ndim != 2 or v.shape[1] != self.size:
            raise ValueError(f"expected a block of shape [k, {self.size}], found {list(v.shape)}")
        if not len(v):
            with torch.no_grad():
                return v.new_zeros((0, self.f(self.x[None]).numel()))
        return torch.cat([self._forward(part) for part in v.split(self.chunk)])

    def rmv(self, u: Tensor) -> Tensor:
        """J' u for each row of u [k, M]; returns [k, D]. Raises `FloatingPointError` for what is not finite."""
        if u.ndim != 2:
            raise ValueError(f"expected a block of shape [k, M], found {list(u.shape)}")
        return torch.cat([self._reverse(part) for part in u.split(self.chunk)]) if len(u) else self._none()

    def _none(self) -> Tensor:
        return self.x.new_zeros((0, self.size))

    def _forward(self, v: Tensor) -> Tensor:
        k = len(v)
        point = self.x.expand(k, *self.x.shape).contiguous()
        tangent = v.reshape(point.shape).contiguous()
        if self.forward == "exact":
            product = torch.func.jvp(self.f, (point,), (tangent,))[1]
            self.evaluations += k
        else:
            # Rounding errs by eps / h, curvature by h^2: their sum is least near eps^(1/3). The factor is for points of
            # unit variance, where h = 0.2 in float32 is far inside the range in which the posterior mean is linear.
            h = (
                STEP
                * torch.finfo(v.dtype).eps ** (1 / 3)
                / v.norm(dim=1).clamp_min(1e-30)[:, None, None, None]
            )
            with torch.no_grad():
                above, below = self.f(torch.cat([point + h * tangent, point - h * tangent])).split(k)
            product = (above - below) / (2 * h)
            self.evaluations += 2 * k
        self.products += k
        return _finite(product.detach().reshape(k, -1), "J v")

    def _reverse(self, u: Tensor) -> Tensor:
        k = len(u)
        if self._graph is None or len(self._graph[0]) < k:
            with torch.enable_grad():
                point = self.x.expand(k, *self.x.shape).clone().requires_grad_()
                self._graph = point, self.f(point)
            self.evaluations += k
        point, value = self._graph
        if u.shape[1] != value[0].numel():
            raise ValueError(f"expected a block of shape [k, {value[0].numel()}], found {list(u.shape)}")
        # Fewer vectors than the graph has rows: the rest of the rows get zeros, which costs less than a new graph.
        seed = torch.zeros_like(value)
        seed[:k] = u.reshape(k, *value.shape[1:])
        (product,) = torch.autograd.grad(value, point, seed, retain_graph=True)
        self.products += k
        return _finite(product[:k].reshape(k, -1), "J' u")


def _finite(block: Tensor, what: str) -> Tensor:
    if not bool(block.isfinite().all()):
        raise FloatingPointError(f"{what} has entries that are not finite")
    return block
