"""The published solver: 50 rounds a request, k products each way a round; the same subspace where the gap is wide."""

import pytest
import torch

from loco.linalg.krylov import Rows, row_svds
from loco.linalg.power import ROUNDS, power_svds
from tests.toys import Dense, angle, with_spectrum

SIZE = 40


def problem():
    mask = torch.arange(SIZE) < 20
    matrix = with_spectrum(SIZE, mask, [2.0**-k for k in range(12)], [1.7**-k for k in range(12)])
    return matrix, [Rows(mask, 3), Rows(~mask, 5)]


def test_it_costs_what_the_paper_s_loop_costs():
    matrix, requests = problem()
    operator = Dense(matrix)
    power_svds(operator, requests, tol=0.01)
    assert operator.products == ROUNDS * 2 * (3 + 5)


def test_both_solvers_find_the_same_and_the_shared_space_costs_a_fraction():
    matrix, requests = problem()
    slow, fast = Dense(matrix), Dense(matrix)
    power = power_svds(slow, requests, tol=1e-6)
    krylov = row_svds(fast, requests, tol=1e-6, max_rounds=SIZE)
    for one, other in zip(power.triplets, krylov.triplets, strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=1e-8, atol=0)
        assert angle(one.right, other.right) < 1e-6
        assert one.converged
        assert other.converged
    assert fast.products * 8 < slow.products


@pytest.mark.parametrize("solve", [power_svds, row_svds])
def test_the_space_knows_the_image_of_what_was_found(solve):
    matrix, requests = problem()
    solution = solve(Dense(matrix), requests, tol=1e-6, max_rounds=50)
    for one in solution.triplets:
        torch.testing.assert_close(
            solution.space.image(one.right), one.right @ matrix.T, rtol=1e-7, atol=1e-9
        )


def test_one_round_has_not_converged():
    matrix, requests = problem()
    solution = power_svds(Dense(matrix), requests, tol=0.01, max_rounds=1)
    assert not any(one.converged for one in solution.triplets)
