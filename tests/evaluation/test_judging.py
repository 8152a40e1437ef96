"""What changes most is told in units of the judge's own error."""

import numpy as np
import pytest

from loco.evaluation.judging import errors_of, most_changed


def test_the_error_of_a_reading_is_what_it_leaves_unexplained():
    draws = np.random.default_rng(0)
    truth = draws.normal(0, 0.3, (20_000, 2))
    # Best linear readings of truth + noise: sqrt(r2) of its scatter, and off by sqrt(1 - r2) of it.
    r2 = np.array([0.9, 0.5])
    readings = r2 * (truth + draws.normal(0, 0.3, truth.shape) * np.sqrt(1 / r2 - 1))
    expected = (readings - truth).std(0)
    np.testing.assert_allclose(errors_of(readings, r2), expected, rtol=0.03)
    assert errors_of(readings) == pytest.approx(readings.std(0))


def test_a_number_that_can_hardly_be_read_does_not_change_most():
    errors = np.array([0.01, 0.5, 0.02])
    change = np.array([0.03, -0.9, 0.05])
    assert int(np.argmax(np.abs(change))) == 1
    assert most_changed(change, errors) == 0
    assert most_changed(change, errors, [1, 2]) == 2


def test_a_reading_that_never_moves_has_a_unit_all_the_same():
    assert most_changed(np.array([0.0, 0.1]), errors_of(np.zeros((5, 2)))) == 1
