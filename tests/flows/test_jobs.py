"""What a job is told, by a command, a schedule or a run of before: numbers outside their range are refused at once."""

import math

import pytest

from flows.engine.options import Runner
from flows.jobs import ApplyJob, DiscoverJob, ScoreJob, asked
from loco.errors import InputError
from loco.recipes import DiscoverRecipe

SPEC = {"model": "m", "dataset": "d", "rois": ["mouth"], "recipe": {"t": 0.5}}
LIMIT, STEPS = (
    "limit must be a whole number from 1 to 1000000000000",
    "steps must be a whole number from 1 to 10000",
)


def discover(**changes):
    return DiscoverJob("m", "d", ("mouth",), DiscoverRecipe(t=0.5), **changes)


def score(**changes):
    return ScoreJob(("a",), "d", **changes)


def apply(**changes):
    return ApplyJob((("a", 1.0),), (4.0,), "out", "in", **changes)


@pytest.mark.parametrize(
    ("make", "name", "value", "message"),
    [
        *(
            (make, "limit", value, LIMIT)
            for make in (discover, score, apply)
            for value in (0, -3, 10**15, 2.5, True)
        ),
        *((make, "steps", value, STEPS) for make in (score, apply) for value in (0, 999999999999, math.nan)),
        *(
            (discover, "timeout", value, "timeout must lie in (0, 2592000]")
            for value in (0, -1, math.nan, math.inf)
        ),
        *(
            (discover, "max_memory", value, "max_memory must lie in (0, 65536]")
            for value in (0, math.nan, 1e9)
        ),
        *(
            (score, "strength", value, "strength must lie in [-1000000, 1000000]")
            for value in (math.nan, 1e300)
        ),
        *((apply, "min_effect", value, "min_effect must lie in [0, 1)") for value in (-1, 1, math.nan)),
        *((apply, "t", value, "t must lie in (0, 1)") for value in (0, 1, 5, math.nan)),
    ],
)
def test_a_number_outside_its_range_is_refused_with_the_range(make, name, value, message):
    with pytest.raises(InputError) as caught:
        make(**{name: value})
    assert str(caught.value) == f"{make.__name__}: {message}, found {value!r}"


@pytest.mark.parametrize("workers", [0, -1, 10**6])
def test_workers(workers):
    for make in (lambda: Runner("processes", workers), lambda: Runner.parse("processes", workers)):
        with pytest.raises(InputError, match=r"runner: workers must be a whole number from 1 to 1024, found"):
            make()


def test_what_a_schedule_or_a_run_of_before_says_is_checked_too():
    assert asked("discover", SPEC).limit is None
    for change in ({"limit": -1}, {"timeout": "nan"}, {"runner": {"kind": "processes", "workers": 10**6}}):
        with pytest.raises(InputError, match="must"):
            asked("discover", SPEC | change)
