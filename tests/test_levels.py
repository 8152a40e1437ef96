"""Levels said by signal and noise: what they mean, which t of a schedule they are, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.diffusion.schedule import Schedule, straight_path
from loco.direction import Direction
from loco.errors import InputError
from loco.levels import log_snr, t_of, wanted
from loco.models.levels import resolved
from tests.gaussian import cosine_schedule

COSINE = cosine_schedule()
LINEAR = Schedule("linear", torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))


def test_the_three_spellings_mean_one_level():
    found = [wanted(text).log_snr for text in ("abar:0.75", "snr:3", f"logsnr:{math.log(3)!r}")]
    assert found == pytest.approx([math.log(3)] * 3)
    assert log_snr(0.75) == pytest.approx(math.log(3))


@pytest.mark.parametrize("alpha_bar", [None, 0.0, 1.0])
def test_the_ends_have_no_logarithm(alpha_bar):
    assert log_snr(alpha_bar) is None


@pytest.mark.parametrize("text", ["0.6", "snr", "noise:3", "", ":1", "SNR:1"])
def test_other_texts_are_no_such_level(text):
    assert wanted(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (f"abar:{one}", "an alpha_bar between 0 and 1")
            for one in ("0", "1", "1.5", "-0.1", "nan", "half", "")
        ),
        *(
            (f"snr:{one}", "a signal-to-noise ratio above 0 (of powers; its logarithm is said as logsnr:X)")
            for one in ("0", "-1", "inf", "nan", "1e300", "x")
        ),
        *(
            (f"logsnr:{one}", "the logarithm of a signal-to-noise ratio, within -100 and 100")
            for one in ("-101", "inf", "nan", "x")
        ),
    ],
)
def test_impossible_values_are_refused_with_what_was_expected(text, expected):
    with pytest.raises(InputError) as caught:
        wanted(text)
    assert str(caught.value) == f"{text.partition(':')[0]}:X: expected {expected}, found {text!r}"


@pytest.mark.parametrize(
    ("linear", "cosine"), [(0.2, 0.39), (0.3, 0.57), (0.5, 0.82), (0.6, 0.90), (0.7, 0.95)]
)
def test_one_level_is_another_t_under_another_schedule(linear, cosine):
    """alpha_bar 0.656, 0.394, 0.0778, 0.0259, 0.0070: the table of docs/method.md."""
    level = f"abar:{LINEAR.at(linear)!r}"
    assert LINEAR.nearest(level) == linear
    assert resolved(level, "faces", "zoo:faces32") == pytest.approx(cosine, abs=0.006)


@pytest.mark.parametrize(
    "schedule", [COSINE, LINEAR, straight_path(1000), straight_path(28), cosine_schedule(2)]
)
def test_each_step_is_found_again_by_its_level_inside_0_and_1(schedule):
    last = schedule.train_steps - 1
    for step in sorted({0, 1, last // 3, last - 1, last}):
        a = float(schedule.alpha_bar[step])
        if not 0 < a < 1:
            continue
        t = schedule.nearest(f"logsnr:{log_snr(a)!r}")
        assert 0 < t < 1
        assert schedule.at(t) == a


def test_the_t_is_the_shortest_that_tells_the_step_so_that_it_has_the_ids_of_what_people_type():
    assert [COSINE.nearest(f"abar:{COSINE.at(t)!r}") for t in (0.4, 0.6, 0.05)] == [0.4, 0.6, 0.05]


@given(st.floats(0.01, 0.98))
def test_it_is_the_nearest_step(alpha_bar):
    found = t_of(wanted(f"abar:{alpha_bar!r}"), COSINE.alpha_bar.numpy(), "it")
    known = COSINE.alpha_bar[1:-1].numpy()
    distance = np.abs(np.log(known / (1 - known)) - log_snr(alpha_bar))
    assert abs(log_snr(COSINE.at(found)) - log_snr(alpha_bar)) == pytest.approx(distance.min())


def test_levels_beyond_a_schedule_are_refused_with_its_own():
    for text in ("abar:0.99995", "abar:0.00001"):
        with pytest.raises(InputError) as caught:
            LINEAR.nearest(text)
        assert str(caught.value) == (
            f"the linear schedule has no level {text}: its levels are snr:4.04e-05 to snr:1e+04"
        )


def test_what_is_no_such_text_is_no_level_to_look_for():
    with pytest.raises(
        InputError, match=r"expected a level such as snr:0.5, logsnr:-0.7 or abar:0.33, found 'x'"
    ):
        LINEAR.nearest("x")


def direction(**changes):
    told = {
        "id": "d" * 32,
        "basis_id": "b" * 32,
        "row": 0,
        "index": 0,
        "model": "m",
        "image_id": "i",
        "roi": "r",
    }
    told |= {
        "roi_id": "r" * 32,
        "roi_area": 0.1,
        "t": 0.5,
        "step": 500,
        "shape": (3, 2, 2),
        "singular_value": 1.0,
    }
    told |= {"residual": 0.0, "converged": True, "gain": 1.0, "leakage": 0.1, "retained": 1.0}
    return Direction(**(told | changes))


def test_a_directions_log_snr_follows_from_its_alpha_bar_whatever_is_told():
    assert direction(alpha_bar=0.75, log_snr=17.0).log_snr == pytest.approx(math.log(3))
    assert direction(log_snr=17.0).log_snr is None
    for impossible in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"alpha_bar must lie in \[0, 1\], found"):
            direction(alpha_bar=impossible)
