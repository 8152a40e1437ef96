"""Metrics: each against its definition on arrays where it can be done by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from loco.measure.metrics import cosine, locality, mean_squared_change, psnr

vectors = arrays(np.float64, 6, elements=st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3))


def test_psnr_is_20_decibels_for_a_tenth_of_the_span():
    first = np.zeros((3, 4, 4))
    assert psnr(first, first + 0.2) == pytest.approx(20)
    assert psnr(first, first + 0.1, span=1) == pytest.approx(20)
    assert psnr(first, first) == math.inf


def test_psnr_does_not_wrap_in_bytes():
    black, white = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)
    assert psnr(black, white, span=255) == pytest.approx(0)


def test_the_change_inside_and_outside_are_means_over_their_own_pixels():
    mask = np.zeros((4, 4), np.bool_)
    mask[0, :2] = True
    change = np.full((3, 4, 4), 0.5)
    change[:, mask] = [[2.0], [0.0], [1.0]]
    assert mean_squared_change(change, mask) == pytest.approx((5 / 3, 0.25))
    assert locality(change, mask) == pytest.approx(20 / 3)
    assert locality(change, ~mask) == pytest.approx(3 / 20)


def test_the_whole_image_has_no_outside():
    change = np.ones((3, 2, 2))
    assert mean_squared_change(change, np.ones((2, 2), np.bool_)) == (1.0, 0.0)
    assert locality(change, np.ones((2, 2), np.bool_)) == math.inf


@given(vectors, vectors, st.floats(0.01, 100))
def test_the_cosine_is_blind_to_length_and_turns_with_the_sign(first, second, scale):
    value = cosine(first, second)
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert cosine(scale * first, second) == pytest.approx(value, abs=1e-9)
    assert cosine(-first, second) == pytest.approx(-value, abs=1e-9)
    assert cosine(second, first) == pytest.approx(value, abs=1e-9)
    if first.any():
        assert cosine(first, first) == pytest.approx(1)


def test_the_cosine_of_45_degrees_and_of_nothing():
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert cosine(np.array([1.0, 0]), np.zeros(2)) == 0
