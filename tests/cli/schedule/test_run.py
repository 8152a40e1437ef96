def test_what_is_run(loco, monkeypatch, home):
    asked = []
    monkeypatch.setattr(
        "flows.schedules.schedule.run_now", lambda home, name: asked.append((home, name)) or "a" * 32
    )
    outcome = loco("schedule", "run", "nightly")
    assert asked == [(home, "nightly")]
    assert outcome.out == f"run  {'a' * 32}"
    assert outcome.err == "a worker takes it up; start one with `loco worker` if none runs"


def test_an_unknown_one(loco):
    assert loco("schedule", "run", "x", code=2).err.startswith(
        "error: no schedule is called 'x'; there are: none yet"
    )
