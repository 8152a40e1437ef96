"""JacobianOperator: its products are those of the matrix that it never forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.linalg.jacobian import CHUNK, JacobianOperator, chunk_for, graph_bytes
from loco.models.diffusers_folder import open_folder
from tests.toys import save_pipeline

SHAPE = (2, 3, 4)
SIZE = 24


def random(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def linear(matrix):
    return lambda x: (x.flatten(1) @ matrix.T).view_as(x)


def curved(x):
    """A smooth map whose Jacobian has no structure; items are independent."""
    mixing = random(SIZE, SIZE, seed=7, dtype=x.dtype) / SIZE**0.5
    return torch.sin(x.flatten(1) @ mixing.T).view_as(x) + x.flip(3)


@pytest.mark.parametrize("forward", ["central", "exact"])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_a_linear_map_is_its_own_jacobian(forward, count):
    matrix, blocks = random(SIZE, SIZE), random(count, SIZE, seed=2)
    operator = JacobianOperator(linear(matrix), random(*SHAPE, seed=3), forward=forward)
    torch.testing.assert_close(operator.mv(blocks), blocks @ matrix.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(operator.rmv(blocks), blocks @ matrix, rtol=1e-12, atol=1e-12)
    assert operator.size == SIZE
    assert operator.dtype == torch.float64


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(["central", "exact"]))
def test_forward_and_reverse_are_transposes(seed, forward):
    """<J v, u> = <v, J' u>."""
    operator = JacobianOperator(curved, random(*SHAPE, seed=seed), forward=forward)
    v, u = random(3, SIZE, seed=seed + 1), random(3, SIZE, seed=seed + 2)
    torch.testing.assert_close(operator.mv(v) @ u.T, v @ operator.rmv(u).T, rtol=1e-6, atol=1e-6)


def test_a_curved_map_has_the_jacobian_of_automatic_differentiation():
    x = random(*SHAPE, seed=5)
    matrix = torch.func.jacrev(lambda flat: curved(flat.view(1, *SHAPE)).flatten())(x.flatten())
    exact, central = (JacobianOperator(curved, x, forward=mode) for mode in ("exact", "central"))
    eye = torch.eye(SIZE, dtype=x.dtype)
    torch.testing.assert_close(exact.mv(eye).T, matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(exact.rmv(eye), matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(central.mv(eye).T, matrix, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_step_of_the_difference_does_not_grow_with_the_vector(scale):
    operator = JacobianOperator(curved, random(*SHAPE, seed=5))
    v = random(1, SIZE, seed=6)
    torch.testing.assert_close(operator.mv(scale * v), scale * operator.mv(v), rtol=1e-7, atol=0)


def test_the_product_with_nothing_is_nothing():
    operator = JacobianOperator(curved, random(*SHAPE))
    assert not operator.mv(torch.zeros(2, SIZE, dtype=torch.float64)).any()
    assert operator.mv(torch.zeros(0, SIZE, dtype=torch.float64)).shape == (0, SIZE)
    assert operator.rmv(torch.zeros(0, SIZE, dtype=torch.float64)).shape == (0, SIZE)
    assert operator.products == 2


@pytest.mark.parametrize("chunk", [1, 2, 3, 16])
@pytest.mark.parametrize("forward", ["central", "exact"])
def test_chunks_change_nothing(forward, chunk):
    x, block = random(*SHAPE), random(7, SIZE, seed=2)
    whole = JacobianOperator(curved, x, forward=forward, chunk=7)
    parts = JacobianOperator(curved, x, forward=forward, chunk=chunk)
    torch.testing.assert_close(parts.mv(block), whole.mv(block), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(parts.rmv(block), whole.rmv(block), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("forward", "cost"), [("central", 2), ("exact", 1)])
def test_products_and_evaluations_are_those_made(forward, cost):
    seen = []

    def f(x):
        seen.append(len(x))
        return curved(x)

    operator = JacobianOperator(f, random(*SHAPE), forward=forward, chunk=3)
    operator.mv(random(7, SIZE))
    assert (operator.products, operator.evaluations) == (7, 7 * cost)
    assert sum(seen) == operator.evaluations
    operator.rmv(random(7, SIZE))
    assert operator.products == 14
    assert sum(seen) == operator.evaluations == 7 * cost + 3  # one graph of three rows serves them all
    operator.rmv(random(2, SIZE))
    assert sum(seen) == operator.evaluations == 7 * cost + 3


@pytest.mark.parametrize("shape", [(SIZE,), (2, SIZE + 1), (1, *SHAPE)])
def test_wrong_shapes_are_refused(shape):
    operator = JacobianOperator(curved, random(*SHAPE))
    for product in (operator.mv, operator.rmv):
        with pytest.raises(ValueError, match=r"expected a block of shape \[k, (24|M)\], found \[") as caught:
            product(torch.zeros(shape, dtype=torch.float64))
        assert str(list(shape)) in str(caught.value)
    assert operator.products == 0


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-3), (torch.float64, 1e-6)], ids=["float32", "float64"]
)
def test_differences_agree_with_forward_mode_on_a_network(tmp_path, dtype, bound):
    """Relative error of the default product against the exact one, on a U-Net with attention at t = 0.6."""
    card, denoiser = open_folder(save_pipeline(tmp_path), dtype=dtype)
    x = random(*card.shape, dtype=dtype)
    block = random(6, x.numel(), seed=2, dtype=dtype)

    def f(batch):
        return denoiser.posterior_mean(batch, 0.6)

    central, exact = (JacobianOperator(f, x, forward=mode) for mode in ("central", "exact"))
    difference, product = central.mv(block), exact.mv(block)
    assert difference.dtype == product.dtype == dtype
    error = (difference - product).norm(dim=1) / product.norm(dim=1)
    assert float(error.max()) < bound
    u = random(6, x.numel(), seed=3, dtype=dtype)
    torch.testing.assert_close(product @ u.T, block @ exact.rmv(u).T, rtol=bound, atol=bound)


MODES = [("central", "reverse"), ("forward", "reverse"), ("exact", "reverse"), ("exact", "fresh")]


@pytest.mark.parametrize(("forward", "adjoint"), MODES)
def test_every_mode_has_the_adjoint_identity_and_agrees_with_forward_mode(forward, adjoint):
    """<J v, u> = <v, J' u>; differences agree with the exact product within 1e-3 (forward) and 1e-6 (central)."""
    x = random(*SHAPE, seed=5)
    operator = JacobianOperator(curved, x, forward=forward, adjoint=adjoint)
    exact = JacobianOperator(curved, x, forward="exact")
    v, u = random(3, SIZE, seed=6), random(3, SIZE, seed=7)
    bound = {"central": 1e-6, "forward": 1e-3, "exact": 1e-12}[forward]
    torch.testing.assert_close(operator.mv(v), exact.mv(v), rtol=bound, atol=bound)
    torch.testing.assert_close(operator.mv(v) @ u.T, v @ operator.rmv(u).T, rtol=bound, atol=5 * bound)


def test_half_precision_takes_a_float32_difference(tmp_path):
    """A network in bfloat16: no graph, inputs rounded, and still within 10 % of the float32 network's product."""
    folder = save_pipeline(tmp_path)
    products = []
    for dtype in (torch.float32, torch.bfloat16):
        card, denoiser = open_folder(folder, dtype=dtype)
        x = random(*card.shape, dtype=torch.float32).to(dtype)
        operator = JacobianOperator(lambda batch, own=denoiser: own.posterior_mean(batch, 0.6), x)
        block = operator.mv(random(4, x.numel(), seed=2, dtype=torch.float32))
        assert block.dtype == operator.dtype == torch.float32
        products.append(block)
    error = (products[1] - products[0]).norm(dim=1) / products[0].norm(dim=1)
    assert float(error.max()) < 0.1


class Closed(torch.autograd.Function):
    """A map that raises when it is differentiated."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, *gradients):
        raise NotImplementedError("this network has no derivative\nand says so at length")


def test_a_network_that_cannot_be_differentiated_is_taken_as_symmetric_and_says_so_once(caplog):
    operator = JacobianOperator(Closed.apply, random(*SHAPE))
    u = random(3, SIZE, seed=2)
    for _ in range(2):
        torch.testing.assert_close(operator.rmv(u), 2 * u, rtol=1e-9, atol=1e-9)
    assert operator.adjoint == "symmetric"
    assert [record.getMessage() for record in caplog.records] == [
        "the network cannot be differentiated (this network has no derivative): taking its Jacobian as symmetric, "
        "so that no direction can be called converged"
    ]


def test_out_of_memory_halves_the_chunk_and_goes_on(caplog):
    def hungry(x):
        if len(x) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")
        return curved(x)

    x, block = random(*SHAPE), random(16, SIZE, seed=2)
    operator, plain = JacobianOperator(hungry, x), JacobianOperator(curved, x)
    torch.testing.assert_close(operator.mv(block), plain.mv(block), rtol=1e-9, atol=1e-9)
    assert (operator.chunk, operator.halvings) == (2, 3)  # a central difference calls it on twice the chunk
    torch.testing.assert_close(operator.rmv(block), plain.rmv(block))
    assert operator.products == 32
    assert caplog.records[-1].getMessage() == "out of memory: going on with 2 vectors at a time"


def test_not_even_one_vector_fits():
    def starved(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(
        MemoryError, match="one vector at a time does not fit into memory: CUDA out of memory"
    ):
        JacobianOperator(starved, random(*SHAPE)).mv(random(4, SIZE))


def test_what_is_not_finite_is_refused():
    operator = JacobianOperator(lambda x: x / 0, random(*SHAPE))
    with pytest.raises(FloatingPointError, match="J v has entries that are not finite"):
        operator.mv(random(2, SIZE))


def test_the_chunk_follows_the_memory(tmp_path):
    """Measured on one evaluation: a tenth of the memory, a tenth of the vectors; never none."""
    card, denoiser = open_folder(save_pipeline(tmp_path))
    x = random(*card.shape, dtype=torch.float32)

    def f(batch):
        return denoiser.posterior_mean(batch, 0.6)

    one = graph_bytes(f, x)
    assert one > 100 * x.nbytes  # a network keeps far more than its input
    assert chunk_for(f, x, None) == CHUNK
    assert chunk_for(f, x, 2 * one * 40) == 40
    assert chunk_for(f, x, 2 * one * 4) == 4
    assert chunk_for(f, x, 1) == 1


@pytest.mark.parametrize("forward", ["central", "forward", "exact"])
def test_products_are_taken_in_full_precision_forwards_and_backwards(forward):
    seen = []

    class Told(torch.autograd.Function):
        @staticmethod
        def forward(x):
            seen.append(torch.backends.cudnn.allow_tf32)
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def jvp(ctx, tangent):
            return 2 * tangent

        @staticmethod
        def backward(ctx, gradient):
            seen.append(torch.backends.cudnn.allow_tf32)
            return 2 * gradient

    operator = JacobianOperator(Told.apply, torch.zeros(1, 2, 2), forward=forward)
    block = torch.eye(4)
    assert torch.allclose(operator.mv(block), 2 * block)
    assert torch.allclose(operator.rmv(block), 2 * block)
    assert seen
    assert not any(seen)
    assert torch.backends.cudnn.allow_tf32
