def test_what_was_rejected_comes_back(loco, filled):
    one = filled.find(limit=1)[0]
    loco("directions", "reject", one.short)
    assert loco("directions", "restore", one.short).out.splitlines()[0] == f"restored  {one.id}"
    assert one.short in loco("directions", "list").out
