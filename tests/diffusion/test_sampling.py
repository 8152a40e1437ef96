"""DDIM: what it does to a Gaussian is known in closed form, in the limit and at every number of steps."""

from itertools import pairwise

import pytest
import torch

from loco.diffusion.sampling import invert, sample
from tests.toys import factors, gaussian

SHAPE = (3, 4, 4)
T = 0.6


def isotropic(variance=0.25):
    """N(mean, variance I)."""
    return gaussian(factors(0, SHAPE), mean=0.1 * factors(1, SHAPE, seed=9)[0], noise=variance)


def images(count=2):
    return 0.5 * factors(count, SHAPE, seed=4)


@pytest.mark.parametrize("variance", [0.1, 0.5])
def test_down_and_up_gives_back_the_image_to_first_order(variance):
    """The error of the round trip falls at least as 1 / steps."""
    denoiser, x0 = isotropic(variance), images()
    errors = []
    for steps in (10, 20, 40, 80):
        again = sample(denoiser, invert(denoiser, x0, T, steps), T, steps)
        errors.append(float((again - x0).norm() / x0.norm()))
    assert errors[0] < 0.3
    assert all(after < 0.6 * before for before, after in pairwise(errors))


@pytest.mark.parametrize("variance", [0.1, 0.5])
def test_inversion_ends_where_the_flow_of_a_gaussian_ends(variance):
    """x_t - sqrt(a) mu grows by the ratio of the marginals' standard deviations, to first order in 1 / steps."""
    denoiser, x0 = isotropic(variance), images()

    def centred(x, t):
        a = denoiser.schedule.at(t)
        return (x - a**0.5 * denoiser.mean) / (a * variance + 1 - a) ** 0.5

    errors = []
    for steps in (10, 20, 40, 80):
        ended = centred(invert(denoiser, x0, T, steps), T)
        errors.append(float((ended - centred(x0, 0)).norm() / ended.norm()))
    assert all(after < 0.6 * before for before, after in pairwise(errors))


def test_one_step_is_the_formula():
    """x_r = sqrt(a_r) x0_hat + sqrt(1 - a_r) (x_s - sqrt(a_s) x0_hat) / sqrt(1 - a_s)."""
    denoiser, x = isotropic(), images()
    a, b = denoiser.schedule.at(T), denoiser.schedule.at(0)
    x0_hat = denoiser.posterior_mean(x, T)
    expected = b**0.5 * x0_hat + (1 - b) ** 0.5 * (x - a**0.5 * x0_hat) / (1 - a) ** 0.5
    torch.testing.assert_close(sample(denoiser, x, T, 1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", [invert, sample])
def test_evaluations_are_steps_times_images_at_the_grid_s_levels(way):
    denoiser, seen, told = isotropic(), [], []
    plain = denoiser.posterior_mean

    def counted(x, t):
        seen.append((len(x), t))
        return plain(x, t)

    denoiser.posterior_mean = counted
    way(denoiser, images(3), T, 7, told.append)
    grid = denoiser.schedule.grid(T, 7)
    assert told == [3] * 7
    assert seen == [(3, t) for t in (grid[:-1] if way is invert else grid[:0:-1])]


def test_images_do_not_see_each_other():
    denoiser, x0 = isotropic(), images(3)
    together = invert(denoiser, x0, T, 5)
    alone = torch.cat([invert(denoiser, one[None], T, 5) for one in x0])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_nothing_is_kept_for_gradients():
    x0 = images().requires_grad_()
    assert not invert(isotropic(), x0, T, 2).requires_grad


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers on numpy 2
def test_second_order_sampling_is_diffusers_dpm_solver():
    """Its inverse scheduler takes no levels of one's own, so the step is ours; sampling agrees with theirs."""
    from diffusers import DPMSolverMultistepScheduler

    denoiser = gaussian(factors(5, SHAPE) / 2, noise=0.05)
    schedule = denoiser.schedule
    before = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alpha_bar[:-1]])
    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=schedule.train_steps,
        trained_betas=(1 - schedule.alpha_bar / before).numpy(),
        prediction_type="sample",
        final_sigmas_type="sigma_min",
        lower_order_final=False,
    )
    theirs.set_timesteps(timesteps=[schedule.step(level) for level in schedule.grid(T, 12)[:0:-1]])
    x_t = x = images()
    for t in theirs.timesteps:
        x = theirs.step(denoiser.posterior_mean(x, schedule.level(int(t))), t, x).prev_sample
    ours = sample(denoiser, x_t, T, 12, order=2)
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-4)  # their levels are float32
    assert not torch.allclose(ours, sample(denoiser, x_t, T, 12), atol=1e-3)


def test_second_order_is_nearer_to_the_flow():
    denoiser, x0 = isotropic(), images()
    truth = invert(denoiser, x0, T, 500)
    errors = [float((invert(denoiser, x0, T, 25, order=order) - truth).norm()) for order in (1, 2)]
    assert errors[1] < errors[0]


def test_only_two_orders():
    with pytest.raises(ValueError, match="order must be 1 or 2, found 3"):
        sample(isotropic(), images(), T, 2, order=3)
