"""row_svds: the leading triplets of each set of rows are those of a dense SVD of the masked matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.linalg.krylov import Rows
from loco.linalg.krylov import row_svds as solve
from loco.linalg.projection import canonical_sign
from tests.toys import Dense, angle, with_spectrum

SIZE = 40


def row_svds(*arguments, **options):
    return solve(*arguments, **options).triplets


FALLING = [2.0**-k for k in range(12)]


def half(size=SIZE):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[: size // 2] = True
    return mask


def dense(matrix, request):
    """Values and right vectors of the masked matrix, as many as are asked for and not zero."""
    _, values, right = torch.linalg.svd(matrix[request.mask], full_matrices=False)
    count = min(request.rank, int((values > 1e-6 * values[:1].sum()).sum()))
    return values[:count], right[:count]


def relative_residuals(matrix, request, values, right):
    masked = matrix * request.mask[:, None]
    left = torch.nn.functional.normalize(right @ masked.T, dim=1)
    return (left @ masked - values[:, None] * right).norm(dim=1) / values


def check(matrix, request, found, tol=1e-9):
    values, right = dense(matrix, request)
    torch.testing.assert_close(found.values, values, rtol=1e-7, atol=0)
    assert angle(found.right, right) < 1e-6
    torch.testing.assert_close(found.right @ found.right.T, torch.eye(len(values), dtype=torch.float64))
    assert found.error <= tol
    assert bool((found.residuals <= 10 * tol).all())
    assert found.converged


@pytest.mark.parametrize(
    ("inside", "outside", "rank"),
    [
        (FALLING, FALLING[::-1], 3),
        ([3.0, 3.0, 3.0, 1.0, 0.5], FALLING, 3),
        ([3.0, 1.0, 1.0, 0.2], [1.0] * 6, 3),
        ([3.0, 1.0], FALLING, 5),
        ([1e2, 1.0, 1e-1], [1e-4, 1e-6], 3),
    ],
    ids=["falling", "tied first", "tied within", "rank-deficient", "scales"],
)
def test_both_halves_equal_the_dense_svd(inside, outside, rank):
    mask = half()
    matrix = with_spectrum(SIZE, mask, inside, outside)
    requests = [Rows(mask, rank), Rows(~mask, min(len(outside), 6))]
    for request, found in zip(
        requests, row_svds(Dense(matrix), requests, tol=1e-9, max_rounds=SIZE), strict=True
    ):
        check(matrix, request, found)


@settings(max_examples=40)
@given(st.data())
def test_any_rows_of_any_operator_equal_the_dense_svd(data):
    size = data.draw(st.integers(4, 16), label="size")
    cut = data.draw(st.integers(1, size - 1), label="rows inside")
    rank = data.draw(st.integers(1, size), label="rank")
    seed = data.draw(st.integers(0, 10**6), label="seed")
    mask = torch.arange(size) < cut
    # Values fall by two thirds, so that the gaps on which a subspace depends stay far above the tolerance.
    matrix = with_spectrum(
        size, mask, [1.5**-k for k in range(cut)], [1.5**-k for k in range(size - cut)], seed
    )
    requests = [Rows(mask, rank), Rows(~mask, rank)]
    for request, found in zip(
        requests, row_svds(Dense(matrix), requests, tol=1e-8, max_rounds=4 * size, seed=seed), strict=True
    ):
        check(matrix, request, found, tol=1e-8)


def test_one_space_gives_what_each_request_gives_alone():
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)
    masks = [torch.rand(SIZE, generator=generator) < share for share in (0.1, 0.4, 0.8)]
    requests = [Rows(mask, 2) for mask in masks] + [Rows(~mask, 4) for mask in masks]
    shared, alone = Dense(matrix), 0
    together = row_svds(shared, requests, tol=1e-9, max_rounds=SIZE)
    for request, found in zip(requests, together, strict=True):
        single = Dense(matrix)
        [own] = row_svds(single, [request], tol=1e-9, max_rounds=SIZE)
        alone += single.products
        torch.testing.assert_close(found.values, own.values, rtol=1e-7, atol=0)
        assert angle(found.right, own.right) < 1e-6
        check(matrix, request, found)
    assert shared.products < alone


def test_the_residual_is_what_it_claims_and_one_round_does_not_converge():
    mask = half()
    matrix = with_spectrum(SIZE, mask, [1 - 0.04 * k for k in range(20)], [1 - 0.04 * k for k in range(20)])
    requests = [Rows(mask, 3), Rows(~mask, 5)]
    for rounds in (1, 2, 4, SIZE):
        for request, found in zip(
            requests, row_svds(Dense(matrix), requests, tol=0.02, max_rounds=rounds), strict=True
        ):
            claimed = relative_residuals(matrix, request, found.values, found.right)
            if found.converged:
                torch.testing.assert_close(found.residuals, claimed, rtol=0.05, atol=5e-3)
                continue
            # Before, what J' was not asked about yet is taken to be as strong as it answers elsewhere.
            assert bool((found.residuals >= 0.75 * claimed).all())
            assert bool((found.residuals <= 1.5 * claimed + 1e-3).all())
            assert found.error > 0.02
            assert rounds < SIZE


def test_a_larger_tolerance_costs_less():
    mask = half()
    matrix = with_spectrum(SIZE, mask, [0.8**k for k in range(20)], [0.8**k for k in range(20)])
    costs = []
    for tol in (0.3, 1e-2, 1e-6):
        operator = Dense(matrix)
        [found] = row_svds(operator, [Rows(mask, 3)], tol=tol, max_rounds=SIZE)
        assert found.error <= tol
        costs.append(operator.products)
    assert costs == sorted(set(costs))


def test_two_seeds_give_the_same_directions():
    mask = half()
    matrix = with_spectrum(SIZE, mask, FALLING, FALLING)
    first, second = (
        row_svds(Dense(matrix), [Rows(mask, 4)], tol=1e-9, max_rounds=SIZE, seed=seed)[0] for seed in (0, 1)
    )
    assert not torch.equal(first.right, second.right)
    torch.testing.assert_close(canonical_sign(first.right), canonical_sign(second.right), rtol=0, atol=1e-7)


def test_one_seed_gives_the_same_bits():
    matrix = with_spectrum(SIZE, half(), FALLING, FALLING)
    first, second = (
        row_svds(Dense(matrix), [Rows(half(), 4)], tol=1e-3, max_rounds=9, seed=5)[0] for _ in range(2)
    )
    assert torch.equal(first.right, second.right)


def test_rank_0_asks_for_nothing_and_costs_nothing():
    operator = Dense(with_spectrum(SIZE, half(), FALLING, FALLING))
    [found] = row_svds(operator, [Rows(half(), 0)], tol=1e-6, max_rounds=5)
    assert found.values.shape == (0,)
    assert found.right.shape == (0, SIZE)
    assert found.converged
    assert operator.products == 0
    assert row_svds(operator, [], tol=1e-6, max_rounds=5) == ()


def test_rank_0_beside_another_request():
    matrix = with_spectrum(SIZE, half(), FALLING, FALLING)
    requests = [Rows(half(), 3), Rows(~half(), 0)]
    found, nothing = row_svds(Dense(matrix), requests, tol=1e-9, max_rounds=SIZE)
    check(matrix, requests[0], found)
    assert nothing.right.shape == (0, SIZE)


def test_no_more_rows_than_there_are():
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:3] = True
    matrix = with_spectrum(SIZE, mask, [3.0, 2.0, 1.0], FALLING)
    request = Rows(mask, 10)
    [found] = row_svds(Dense(matrix), [request], tol=1e-9, max_rounds=SIZE)
    assert len(found.values) == 3
    check(matrix, request, found)


def test_rows_that_do_not_respond_have_no_triplets():
    matrix = with_spectrum(SIZE, half(), FALLING, FALLING)
    matrix[half()] = 0
    silent, heard = row_svds(Dense(matrix), [Rows(half(), 3), Rows(~half(), 3)], tol=1e-9, max_rounds=SIZE)
    assert silent.right.shape == (0, SIZE)
    check(matrix, Rows(~half(), 3), heard)
    [nothing] = row_svds(Dense(torch.zeros_like(matrix)), [Rows(half(), 3)], tol=1e-9, max_rounds=SIZE)
    assert nothing.right.shape == (0, SIZE)


def test_single_precision_reaches_the_tolerance_of_a_recipe():
    mask = half()
    matrix = with_spectrum(SIZE, mask, FALLING, FALLING)
    requests = [Rows(mask, 3), Rows(~mask, 5)]
    for request, found in zip(
        requests, row_svds(Dense(matrix.float()), requests, tol=1e-3, max_rounds=SIZE), strict=True
    ):
        assert found.right.dtype == torch.float32
        values, right = dense(matrix, request)
        torch.testing.assert_close(found.values.double(), values, rtol=1e-4, atol=0)
        assert angle(found.right.double(), right) < 5e-3
        assert found.converged
