"""The linear range: where the change leaves the bounds that define it, on maps whose answer is known."""

import math

import pytest
import torch

from loco.linearity import COSINE, NORM_RATIO, linear_range

SHAPE = (1, 2, 3)
X = torch.zeros(SHAPE, dtype=torch.float64)
V = torch.eye(6, dtype=torch.float64)[:2]


def cubic(bend):
    """f(x) = x + bend * x^3 by entry: along a unit vector the ratio is 1 + bend * s^2, the cosine 1."""
    return lambda x: x + bend * x**3


@pytest.mark.parametrize("bend", [0.01, 0.001, -0.01, 1.0, 20.0])
def test_the_range_is_where_the_ratio_leaves_its_bounds(bend):
    allowed = NORM_RATIO[1] - 1 if bend > 0 else 1 - NORM_RATIO[0]
    exact = math.sqrt(allowed / abs(bend))
    found, evaluations = linear_range(cubic(bend), X, V, V, 4)
    assert found == [pytest.approx(exact, rel=0.12)] * 2
    assert evaluations > 4


def test_the_range_is_where_the_cosine_leaves_its_bound():
    """An answer at right angles that grows with s^2: the cosine of (s, s^2 / 10) falls to 0.95 first."""

    def f(x):
        flat = x.flatten(1)
        return (flat + 0.1 * (flat**2).roll(3, dims=1)).view_as(x)

    exact = 10 * math.tan(math.acos(COSINE))
    found, _ = linear_range(f, X, V[:1], V[:1], 4)
    assert found == [pytest.approx(exact, rel=0.12)]


def test_a_linear_map_is_linear_as_far_as_is_looked():
    assert linear_range(lambda x: 3 * x, X, V, 3 * V, 4)[0] == [64.0, 64.0]


def test_a_prediction_that_never_holds_has_no_range():
    assert linear_range(lambda x: -x, X, V, V, 4)[0] == [None, None]
