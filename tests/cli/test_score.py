import pytest

from flows.jobs import ScoreJob
from tests.registry.builders import make_run


@pytest.fixture
def asked(fake_flow, filled):
    found = []

    def score(home, url, job, watch):
        found.append(job)
        return make_run(kind="score")

    fake_flow("flows.score.job", score=score)
    return found


def test_what_the_flow_is_given(loco, asked):
    outcome = loco("score", "--direction", "abcdef", "--dataset", "portraits", "--strength", -2, "--limit", 5)
    assert asked == [ScoreJob(("abcdef",), "portraits", -2.0, 20, 5)]
    assert outcome.out.splitlines()[1] == "status    done"


def test_wrong_usage(loco, asked):
    assert "Missing option '--direction'" in loco("score", "--dataset", "portraits", code=2).err
    assert (
        "expected a number"
        in loco("score", "--direction", "a", "--dataset", "d", "--strength", "x", code=2).err
    )
    assert asked == []
