import pytest

from flows.jobs import ScoreJob
from tests.registry.builders import make_run


@pytest.fixture
def asked(fake_flow, filled):
    found = []

    def score(home, url, job, watch):
        found.append(job)
        return make_run(kind="score")

    fake_flow("flows.start", run=score)
    return found


def test_what_the_flow_is_given(loco, asked, filled):
    known = filled.find(limit=1)[0].id
    outcome = loco("score", "--direction", known, "--dataset", "portraits", "--strength", -2, "--limit", 5)
    assert asked == [ScoreJob((known,), "portraits", -2.0, 20, 5)]
    assert "status    done" in outcome.out.splitlines()


def scores(direction):
    from registry.records import Score
    from tests.registry.builders import image_id

    for number, (gain, leakage, cosine) in enumerate(((4.0, 0.1, 0.9), (2.0, 0.3, 0.8), (0.01, 0.2, 0.1))):
        figures = {"gain": gain, "leakage": leakage, "cosine": cosine, "change_inside": 1.0, "steps": 20.0}
        yield Score(make_run(kind="score").id, direction.id, image_id(number), -2.0, figures)


def test_the_scores_are_shown_with_medians_and_the_share_that_responds(loco, asked, filled):
    [direction] = filled.find(sort="gain", limit=1)
    filled.start_run(make_run(kind="score"))
    filled.add_scores(scores(direction))
    ask = ("score", "--direction", direction.id, "--dataset", "portraits", "--strength", -2)
    assert [line.split() for line in loco(*ask).out.splitlines()[:2]] == [
        ["direction", "region", "images", "gain", "leakage", "cosine", "responding"],
        [direction.short, direction.roi, "3", "2", "0.2", "0.8", "0.6667"],
    ]
    told, run = loco("--json", *ask).json
    assert run["kind"] == "score"
    assert told == {
        "direction": direction.id,
        "roi": direction.roi,
        "strength": -2.0,
        "images": 3,
        "gain": 2.0,
        "leakage": 0.2,
        "cosine": 0.8,
        "change_inside": 1.0,
        "change_outside": None,
        "responding": pytest.approx(2 / 3),
    }
    other = loco("--json", *ask[:-1], 3).json[0]  # nothing was scored at this strength
    assert (other["images"], other["gain"], other["responding"]) == (0, None, None)


def test_wrong_usage(loco, asked):
    assert "Missing option '--direction'" in loco("score", "--dataset", "portraits", code=2).err
    assert (
        "is not a valid float"
        in loco("score", "--direction", "a", "--dataset", "d", "--strength", "x", code=2).err
    )
    assert asked == []
