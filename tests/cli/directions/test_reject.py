def test_rejected_ones_stay_away(loco, filled):
    one = filled.find(limit=1)[0]
    assert loco("directions", "reject", one.short, "--reason", "leaks").out.splitlines() == [
        f"rejected  {one.id}",
        "reason    leaks",
    ]
    assert one.short not in loco("directions", "list").out
    assert one.short in loco("directions", "list", "--status", "rejected").out
    assert loco("directions", "list", "--count").out == "directions  6"
