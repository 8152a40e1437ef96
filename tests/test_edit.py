"""Edits of a Gaussian are linear, so what they do is known exactly."""

from itertools import pairwise

import pytest
import torch

from loco.diffusion.sampling import sample
from loco.edit import change, combine, prepare
from tests.toys import factors, gaussian

SHAPE = (3, 4, 4)
T, STEPS = 0.6, 12


@pytest.fixture
def denoiser():
    return gaussian(factors(5, SHAPE) / 2, mean=factors(1, SHAPE, seed=1)[0] / 10, noise=0.05)


@pytest.fixture
def prepared(denoiser):
    return prepare(denoiser, factors(3, SHAPE, seed=2) / 2, T, STEPS)


def test_nothing_added_changes_nothing_and_costs_nothing(denoiser, prepared):
    told = []
    zero = change(denoiser, prepared, torch.zeros(SHAPE, dtype=torch.float64), told.append)
    assert torch.equal(zero, torch.zeros(3, *SHAPE, dtype=torch.float64))
    assert told == []


def test_the_change_is_linear_in_the_displacement(denoiser, prepared):
    first, second = factors(2, SHAPE, seed=3)
    one = change(denoiser, prepared, first)
    for strength in (-3.0, 0.5, 10.0):
        scaled = change(denoiser, prepared, strength * first)
        torch.testing.assert_close(scaled, strength * one, rtol=1e-8, atol=1e-10)
    both = change(denoiser, prepared, first + second)
    torch.testing.assert_close(both, one + change(denoiser, prepared, second), rtol=1e-8, atol=1e-10)


def test_every_image_changes_alike(denoiser, prepared):
    """Transfer is exact for a Gaussian: its Jacobian is the same everywhere."""
    done = change(denoiser, prepared, factors(1, SHAPE, seed=3)[0])
    torch.testing.assert_close(done, done[:1].expand_as(done), rtol=1e-8, atol=1e-10)


def test_an_eigenvector_is_scaled_by_the_product_of_its_steps(denoiser, prepared):
    """A step from a to b multiplies by sqrt(b) j + sqrt(1 - b) (1 - sqrt(a) j) / sqrt(1 - a).

    j = sqrt(a) w / (a w + 1 - a) is the eigenvalue of the Jacobian that belongs to the covariance's w.
    """
    weights, vectors = torch.linalg.eigh(denoiser.covariance)
    w, q = float(weights[-1]), vectors[:, -1].view(SHAPE)
    factor = 1.0
    for here, there in pairwise(denoiser.schedule.grid(T, STEPS)[::-1]):
        a, b = denoiser.schedule.at(here), denoiser.schedule.at(there)
        j = a**0.5 * w / (a * w + 1 - a)
        factor *= b**0.5 * j + ((1 - b) / (1 - a)) ** 0.5 * (1 - a**0.5 * j)
    assert factor > 0.5
    done = change(denoiser, prepared, 4.0 * q)
    torch.testing.assert_close(done, (4.0 * factor * q).expand_as(done), rtol=1e-8, atol=1e-10)


def test_prepared_images_are_inverted_and_reconstructed_once(denoiser):
    told, x0 = [], factors(3, SHAPE, seed=2) / 2
    ready = prepare(denoiser, x0, T, STEPS, told.append)
    assert told == [3] * (2 * STEPS)
    assert (ready.t, ready.steps) == (T, STEPS)
    assert torch.equal(ready.reconstruction, sample(denoiser, ready.x_t, T, STEPS))
    change(denoiser, ready, factors(1, SHAPE, seed=3)[0], told.append)
    assert told == [3] * (3 * STEPS)


def test_combine_is_the_weighted_sum():
    vectors = factors(3, SHAPE)
    expected = 2 * vectors[0] - 0.5 * vectors[1]
    torch.testing.assert_close(combine(vectors, [2.0, -0.5, 0.0]), expected)
    assert combine(vectors.float(), [1, 2, 3]).dtype == torch.float32


def test_combine_takes_one_strength_for_each_vector():
    with pytest.raises(RuntimeError, match="operand"):
        combine(factors(3, SHAPE), [1.0, 2.0])


def test_composed_edits_add_up(denoiser, prepared):
    vectors = factors(2, SHAPE, seed=5)
    together = change(denoiser, prepared, combine(vectors, [3.0, -2.0]))
    apart = 3 * change(denoiser, prepared, vectors[0]) - 2 * change(denoiser, prepared, vectors[1])
    torch.testing.assert_close(together, apart, rtol=1e-8, atol=1e-10)
