import pytest


@pytest.fixture
def bench(fake_flow):
    class Bench:
        asked = None

        def run(self, *asked):
            self.asked = asked[:-1]
            asked[-1].say("going round")
            return {"busy": 0.9, "rounds": []}

    bench = Bench()
    fake_flow(
        "flows.studies.bench_apply",
        bench_apply=bench.run,
        figures=lambda result: {"network busy": result["busy"]},
    )
    return bench


def test_what_is_measured_and_shown(loco, bench):
    outcome = loco("bench", "apply", "--images", 5, "--steps", 2, "--repeats", 1, "--reference-images", 3)
    assert bench.asked == (5, 2, 1, 3)
    assert outcome.out == "network busy  0.9"
    assert "going round" in outcome.err


def test_defaults_and_json(loco, bench):
    assert loco("--json", "bench", "apply").json == [{"busy": 0.9, "rounds": []}]
    assert bench.asked == (256, 10, 3, 8)


def test_nothing_cannot_be_measured(loco, bench):
    assert "0 is not in the range 1<=x<=1000000000000" in loco("bench", "apply", "--images", 0, code=2).err
    assert bench.asked is None
