"""The Jacobian J of a map at a point, by products only.

For f: R^[C,H,W] -> R^[C',H',W'] at x, with D = C*H*W and M = C'*H'*W', `JacobianOperator` gives blocks of J v [k, M]
and of J' u [k, D]. Vectors are rows. f is called on batches and must treat the items of a batch independently.

    J v   central    (f(x + h v) - f(x - h v)) / 2h     2 evaluations a vector, error O(h^2)
          forward    (f(x + h v) - f(x)) / h            1 evaluation a vector, error O(h)
          exact      forward-mode differentiation       1 evaluation with a tangent, 2 to 5 in time
    J' u  reverse    one graph, kept and used again     1 backward pass a vector
          fresh      a graph a block, a pass a vector   as the published code does; the benchmark's baseline
          symmetric  J v for J' u                       for networks that cannot be differentiated

Differences need no graph, run under `no_grad`, and take a network in half precision: the inputs are rounded to the
network's type, the difference is formed in float32. `symmetric` is exact for a true posterior mean, whose Jacobian is
symmetric (LOCO Edit, Lemma 3; Manor & Michaeli, arXiv 2309.13598), and only approximate for a trained network, so what
rests on it is never called converged.

A block that does not fit into memory is tried again in halves.

References: LOCO Edit (Chen et al., 2024), Algorithm 2, arXiv 2409.02374.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from loco.memory import out_of_memory
from loco.room import room

Forward = Literal["central", "forward", "exact"]
Adjoint = Literal["reverse", "fresh", "symmetric"]

CHUNK = 16
"""Vectors differentiated at a time; bounds memory, changes no result."""

_STEPS = {torch.float64: 4.3e-6, torch.float32: 3.6e-3, torch.float16: 0.03, torch.bfloat16: 0.1}
"""RMS change of an entry by a difference of length h, by the network's type, for points of unit variance.

Rounding errs by eps / h and curvature by h^2, so h goes with eps^(1/3). On a 32 x 32 colour image in float32 it is
0.2 long, where the posterior mean is still linear.
"""

_log = logging.getLogger(__name__)


class JacobianOperator:
    """J = df/dx at one point; blocks in, blocks out; counts what it spends.

    Attributes:
        forward: How J v is formed.
        adjoint: How J' u is formed; becomes `symmetric` when the network turns out not to be differentiable.
        chunk: Vectors at a time; halved when memory runs out.
        products: Products J v and J' u made so far, in single vectors.
        evaluations: Network evaluations spent, in single images; a backward pass is not one.
        halvings: How often memory ran out.
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        forward: Forward = "central",
        adjoint: Adjoint = "reverse",
        chunk: int = CHUNK,
        rounding: torch.dtype | None = None,
    ) -> None:
        """Take f: [B, C, H, W] -> [B, C', H', W'], the point x [C, H, W] in f's type, and how products are formed.

        `rounding` is the half type in which f computes though it takes and gives float32: it sets the step.
        """
        self.f, self.x = f, x
        self.step = _STEPS[x.dtype if rounding is None else rounding]
        self.forward, self.adjoint, self.chunk = forward, adjoint, max(1, chunk)
        self.products = self.evaluations = self.halvings = 0
        self._graph: tuple[Tensor, Tensor] | None = None
        self._value: Tensor | None = None

    @property
    def size(self) -> int:
        """D, the number of entries of x."""
        return self.x.numel()

    @property
    def values(self) -> int:
        """M, the number of entries of f(x); costs one evaluation when f was not yet asked."""
        return self._at_x().numel()

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the vectors: that of x, but float32 for half-precision networks."""
        return torch.float32 if self.x.dtype in (torch.float16, torch.bfloat16) else self.x.dtype

    def mv(self, v: Tensor) -> Tensor:
        """J v for each row of v [k, D]; returns [k, M].

        Raises `FloatingPointError` for what is not finite, `MemoryError` when not even one vector fits.
        """
        if not len(v):
            return v.new_zeros((0, self._at_x().numel()))
        return self._blocks(v, self.size, self._forward, "J v")

    def rmv(self, u: Tensor) -> Tensor:
        """J' u for each row of u [k, M]; returns [k, D]. Raises as `mv` does."""
        if not len(u):
            return u.new_zeros((0, self.size))
        return self._blocks(u, None, self._transposed, "J' u")

    def _blocks(
        self, block: Tensor, size: int | None, product: Callable[[Tensor], Tensor], what: str
    ) -> Tensor:
        if block.ndim != 2 or (size is not None and block.shape[1] != size):
            raise ValueError(f"expected a block of shape [k, {size or 'M'}], found {list(block.shape)}")
        parts = []
        start = 0
        while start < len(block):
            part = block[start : start + self.chunk]
            try:
                with full_precision():
                    parts.append(product(part))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._halve(error)
                continue
            start += len(part)
        self.products += len(block)
        out = torch.cat(parts)
        if not bool(out.isfinite().all()):
            raise FloatingPointError(f"{what} has entries that are not finite")
        return out

    def _halve(self, error: RuntimeError) -> None:
        self._graph = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.chunk == 1:
            raise MemoryError(f"one vector at a time does not fit into memory: {error}") from error
        self.chunk //= 2
        self.halvings += 1
        _log.warning("out of memory: going on with %d vectors at a time", self.chunk)

    def _call(self, x: Tensor) -> Tensor:
        self.evaluations += len(x)
        return self.f(x.to(self.x.dtype)).to(self.dtype)

    def _forward(self, v: Tensor) -> Tensor:
        k = len(v)
        point = self.x.to(self.dtype).expand(k, *self.x.shape)
        tangent = v.reshape(point.shape).contiguous()
        if self.forward == "exact":
            # Fused attention has no forward-mode rule (pytorch issue 98164); the plain one has.
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                self.evaluations += k
                product: Tensor = torch.func.jvp(self.f, (point.contiguous(),), (tangent,))[1]
            return product.detach().reshape(k, -1)
        # The network's type sets the step: what it rounds the inputs to is what the difference must rise above.
        h = self.step * self.size**0.5 / v.norm(dim=1).clamp_min(1e-30)[:, None, None, None]
        with torch.no_grad():
            if self.forward == "central":
                above, below = self._call(torch.cat([point + h * tangent, point - h * tangent])).split(k)
                product = (above - below) / (2 * h)
            else:
                product = (self._call(point + h * tangent) - self._at_x()) / h
        return product.reshape(k, -1)

    def _at_x(self) -> Tensor:
        """f at the point itself, [1, C', H', W']; evaluated once."""
        if self._value is None:
            with torch.no_grad(), full_precision():
                self._value = self._call(self.x[None])
        return self._value

    def _transposed(self, u: Tensor) -> Tensor:
        if self.adjoint != "symmetric":
            try:
                return self._reverse(u) if self.adjoint == "reverse" else self._fresh(u)
            except (RuntimeError, NotImplementedError) as error:
                if out_of_memory(error):
                    raise
                self.adjoint, self._graph = "symmetric", None
                _log.warning(
                    "the network cannot be differentiated (%s): taking its Jacobian as symmetric, "
                    "so that no direction can be called converged",
                    str(error).splitlines()[0] if str(error) else type(error).__name__,
                )
        return self._forward(u)

    def _reverse(self, u: Tensor) -> Tensor:
        k = len(u)
        if self._graph is None or len(self._graph[0]) < k:
            self._graph = None  # the old one must not stay while the new one is built
            with torch.enable_grad():
                point = self.x.expand(k, *self.x.shape).clone().requires_grad_()
                self._graph = point, self._call(point)
        point, value = self._graph
        if u.shape[1] != value[0].numel():
            raise ValueError(f"expected a block of shape [k, {value[0].numel()}], found {list(u.shape)}")
        # Fewer vectors than the graph has rows: the rest of the rows get zeros, which costs less than a new graph.
        seed = torch.zeros_like(value)
        seed[:k] = u.reshape(k, *value.shape[1:])
        (product,) = torch.autograd.grad(value, point, seed, retain_graph=True)
        return product[:k].reshape(k, -1).to(self.dtype)

    def _fresh(self, u: Tensor) -> Tensor:
        with torch.enable_grad():
            point = self.x[None].clone().requires_grad_()
            value = self._call(point)
        rows = [
            torch.autograd.grad(value, point, row.reshape(value.shape), retain_graph=True)[0].flatten()
            for row in u
        ]
        return torch.stack(rows).to(self.dtype)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions of float32 in float32 within it, forwards and backwards.

    An accelerator otherwise keeps ten bits of their inputs (TF32), which a difference of two answers does not bear: the
    embedded model's singular vectors then had twice the error, and no speed was gained.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def graph_bytes(f: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that the graph of f at one point x [C, H, W] keeps for the backward pass; costs one evaluation.

    0 when f cannot be differentiated.
    """
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        contextlib.suppress(RuntimeError, NotImplementedError),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        f(x[None].clone().requires_grad_())
    return sum(seen.values())


_GRAPHS: "WeakKeyDictionary[object, dict[tuple[object, ...], int]]" = WeakKeyDictionary()


def chunk_for(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    max_memory: int | None,
    *,
    of: object | None = None,
    rows: str = "",
    points: int = 1,
) -> int:
    """Vectors at a time that keep within `max_memory` bytes, measured on one.

    Without a limit `CHUNK`, or as many as fit into the memory that is to spare where that is less. A kept graph and the
    buffers of the pass through it are taken as twice the graph's own size. What is measured is remembered of the
    object `of` and its `rows`; `points` graphs are held at a time. Raises `MemoryError` where, without a limit, not
    even one fits.
    """
    one = points * max(2 * _graph(f, x, of, rows), 4 * x.nbytes)
    if max_memory is not None:
        return max(1, min(4 * CHUNK, max_memory // one))
    spare = room(x.device)
    if one > 2 * spare:
        raise MemoryError(
            f"one vector at a time needs {one / 1e9:.1f} GB, {2 * spare / 1e9:.1f} GB are free; to try it all the "
            f"same, give a limit"
        )
    return max(1, min(CHUNK, spare // one))


def _graph(f: Callable[[Tensor], Tensor], x: Tensor, of: object | None, rows: str) -> int:
    if of is None:
        return graph_bytes(f, x)
    known = _GRAPHS.setdefault(of, {})
    key = (rows, *x.shape)
    if key not in known:
        known[key] = graph_bytes(f, x)
    return known[key]
