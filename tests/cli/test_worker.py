def test_what_works(loco, fake_flow, home):
    asked = []
    fake_flow(
        "flows.schedules.worker",
        work=lambda home, url, limit, say: (asked.append((home, url, limit)), say("serving")),
    )
    assert loco("worker", "--limit", 2).err == "serving"
    assert asked == [(home, None, 2)]


def test_wrong_usage(loco):
    assert "is not in the range 1<=x<=1000000000000" in loco("worker", "--limit", 0, code=2).err
