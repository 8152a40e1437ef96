"""The Gaussian oracle against the textbook: conditioning a joint Gaussian, and Theorem 1 of the paper."""

import pytest
import torch

from tests.gaussian import GaussianDenoiser
from tests.toys import factors, gaussian

SHAPE = (2, 3, 3)
SIZE = 18


@pytest.mark.parametrize("t", [0.1, 0.6, 0.9])
def test_the_posterior_mean_is_conditioning_of_the_joint_gaussian(t):
    """E[x0 | x_t] = mu + Cov(x0, x_t) Cov(x_t)^-1 (x_t - E x_t)."""
    denoiser = gaussian(factors(4, SHAPE), mean=factors(1, SHAPE, seed=1)[0], noise=0.1)
    a, s = denoiser.schedule.at(t), denoiser.covariance
    x_t = factors(3, SHAPE, seed=2)
    cross, own = a**0.5 * s, a * s + (1 - a) * torch.eye(SIZE, dtype=s.dtype)
    centred = (x_t - a**0.5 * denoiser.mean).flatten(1)
    expected = denoiser.mean + (cross @ torch.linalg.inv(own) @ centred.T).T.view_as(x_t)
    torch.testing.assert_close(denoiser.posterior_mean(x_t, t), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0.1, 0.6, 0.9])
def test_the_jacobian_is_symmetric_with_the_covariance_s_vectors(t):
    """Singular values sqrt(a) w / (a w + 1 - a), on the covariance's own eigenvectors."""
    denoiser = gaussian(factors(4, SHAPE))
    jacobian, a = denoiser.jacobian(t), denoiser.schedule.at(t)
    torch.testing.assert_close(jacobian, jacobian.T, rtol=0, atol=1e-12)
    weights, vectors = torch.linalg.eigh(denoiser.covariance)
    expected = vectors @ torch.diag(a**0.5 * weights / (a * weights + 1 - a)) @ vectors.T
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-10)
    assert int(torch.linalg.matrix_rank(jacobian, rtol=1e-9)) == 4


def test_the_jacobian_is_the_derivative():
    denoiser = gaussian(factors(4, SHAPE), noise=0.1)
    x = factors(1, SHAPE, seed=2)
    matrix = torch.autograd.functional.jacobian(lambda y: denoiser.posterior_mean(y, 0.5), x)
    torch.testing.assert_close(matrix.reshape(SIZE, SIZE), denoiser.jacobian(0.5), rtol=0, atol=1e-12)


def test_nothing_to_know_gives_the_mean_and_nothing_hidden_the_image():
    mean = factors(1, SHAPE, seed=1)[0]
    certain = GaussianDenoiser(mean, torch.zeros(SIZE, SIZE, dtype=torch.float64))
    x_t = factors(2, SHAPE, seed=2)
    torch.testing.assert_close(certain.posterior_mean(x_t, 0.6), mean.expand_as(x_t))
    broad = GaussianDenoiser(mean, 1e9 * torch.eye(SIZE, dtype=torch.float64))
    a = broad.schedule.at(0.6)
    torch.testing.assert_close(broad.posterior_mean(x_t, 0.6), x_t / a**0.5, rtol=1e-6, atol=1e-6)
