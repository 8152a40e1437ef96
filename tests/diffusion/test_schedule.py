"""Schedules: t in [0, 1] always means a whole training step, and grids run from the image to t."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.diffusion.schedule import Schedule, straight_path
from tests.gaussian import cosine_schedule

SCHEDULE = Schedule("linear", torch.linspace(0.999, 0.001, 101, dtype=torch.float64))
levels = st.floats(0, 1)


def test_the_ends_are_the_ends():
    assert SCHEDULE.train_steps == 101
    assert (SCHEDULE.step(0), SCHEDULE.step(1)) == (0, 100)
    assert (SCHEDULE.at(0), SCHEDULE.at(1)) == (0.999, 0.001)


@given(levels)
def test_t_means_its_nearest_step(t):
    step = SCHEDULE.step(t)
    assert abs(SCHEDULE.level(step) - t) <= 0.5 / 100 + 1e-12
    assert SCHEDULE.at(t) == float(SCHEDULE.alpha_bar[step])


@pytest.mark.parametrize("count", [2, 10, 999, 1000])
def test_a_level_is_its_own_step(count):
    schedule = cosine_schedule(count)
    assert [schedule.step(schedule.level(step)) for step in range(count)] == list(range(count))


@given(levels, st.integers(1, 300))
def test_a_grid_rises_from_the_image_to_t_in_even_steps(t, steps):
    last = SCHEDULE.step(t)
    marks = [SCHEDULE.step(level) for level in SCHEDULE.grid(t, steps)]
    assert (marks[0], marks[-1]) == (0, last)
    assert len(marks) == min(steps, last) + 1
    gaps = [b - a for a, b in pairwise(marks)]
    assert all(gap >= 1 and abs(gap - last / (len(marks) - 1)) < 1.5 for gap in gaps)


@pytest.mark.parametrize("t", [-0.01, 1.01, float("nan")])
def test_levels_outside_are_refused(t):
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], found"):
        SCHEDULE.step(t)


def test_the_cosine_schedule_is_the_squared_cosine():
    """Nichol & Dhariwal, Eq. 17: alpha_bar is the squared cosine of an angle that rises evenly; it is held off 0."""
    alpha_bar = cosine_schedule(1000).alpha_bar
    assert alpha_bar.dtype == torch.float64
    assert bool((alpha_bar.diff() <= 0).all())
    assert 0 < float(alpha_bar[-1]) <= 1e-5 < 0.9999 < float(alpha_bar[0]) < 1
    start = torch.tensor(0.008 / 1.008 * torch.pi / 2, dtype=torch.float64)
    angles = torch.arccos((alpha_bar[:990] * torch.cos(start) ** 2).sqrt())
    step = torch.full((989,), torch.pi / 2 / 1.008 / 1000, dtype=torch.float64)
    torch.testing.assert_close(angles.diff(), step, rtol=1e-6, atol=0)


@given(levels)
def test_without_a_scale_the_variance_is_preserved(t):
    schedule = cosine_schedule(1000)
    assert schedule.signal(t) ** 2 == pytest.approx(schedule.at(t), abs=1e-12)
    assert schedule.signal(t) ** 2 + schedule.noise(t) ** 2 == pytest.approx(1, abs=1e-12)


@given(levels)
def test_the_straight_path_is_straight(t):
    """x_t = (1 - s) x0 + s eps, with s within one step of t."""
    path = straight_path(1000)
    signal, noise = path.signal(t), path.noise(t)
    assert signal + noise == pytest.approx(1, abs=1e-12)
    assert noise == pytest.approx(t, abs=2e-3)
    assert path.at(t) == pytest.approx(signal**2 / (signal**2 + noise**2), abs=1e-12)
