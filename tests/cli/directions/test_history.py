def test_who_said_what(loco, filled):
    one = filled.find(limit=1)[0]
    assert loco("directions", "history").err == "nothing was said yet; `loco directions label` does"
    loco("directions", "reject", one.short, "--reason", "leaks", "--who", "ana")
    line = loco("directions", "history").out.splitlines()[1].split()
    assert line[1:] == ["ana", "reject", "leaks", one.short]
