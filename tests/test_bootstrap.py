"""Intervals over images: closed forms, rows of one image together, and the same answer each time."""

import math

import numpy as np
import pytest

from loco.measure.bootstrap import _resamples, _weighted, interval


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    mean, low, high = interval(values)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert (mean - low, high - mean) == (pytest.approx(error, rel=0.1), pytest.approx(error, rel=0.1))


def test_the_interval_of_a_median_is_that_of_its_order_statistics():
    values = np.random.default_rng(4).exponential(size=401)
    median, low, high = interval(values, "median")
    half = (
        1.96 * math.sqrt(len(values)) / 2
    )  # ranks on either side of the middle, by the binomial distribution
    ordered = np.sort(values)
    assert median == np.median(values)
    assert low == pytest.approx(ordered[round(200 - half)], abs=0.03)
    assert high == pytest.approx(ordered[round(200 + half)], abs=0.03)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_several_rows_of_one_image_count_as_one_image(statistic):
    values, names = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), list("abcde")
    once = interval(values, statistic, names)
    assert interval(np.repeat(values, 3), statistic, [one for one in names for _ in range(3)]) == once
    assert interval(values, statistic) == once == interval(values, statistic)


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_a_median_by_weights_is_the_median_of_what_was_drawn(count):
    values, draws = np.random.default_rng(5).normal(size=count), _resamples(count)[:50]
    expected = [np.median(np.repeat(values, weights)) for weights in draws]
    np.testing.assert_allclose(_weighted(values, draws, "median"), expected)


def test_columns_are_drawn_together():
    values = np.random.default_rng(6).normal(size=(9, 2))
    together = interval(values)
    for column in range(2):
        for one, alone in zip(together, interval(values[:, column]), strict=True):
            assert one[column] == pytest.approx(alone)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="at least one image"):
        interval(np.zeros(0))
