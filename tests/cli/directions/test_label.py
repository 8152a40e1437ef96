import getpass


def test_a_label_and_its_history(loco, filled):
    one = filled.find(limit=1)[0]
    assert loco("directions", "label", one.short, "wide smile").out.splitlines() == [
        f"id     {one.id}",
        "label  wide smile",
    ]
    assert loco("directions", "list", "--label", "wide smile").out.splitlines()[-1].endswith("wide smile")
    [record] = loco("directions", "list", "--label", "wide smile", "--json").json
    assert (record["id"], record["labels"]) == (one.id, ["wide smile"])
    loco("directions", "label", one.short, "wide smile", "--remove", "--who", "ana")
    assert loco("directions", "list", "--label", "wide smile").out == ""
    events = loco("directions", "history", one.short, "--json").json
    assert [(event["who"], event["action"]) for event in events] == [
        (getpass.getuser(), "label"),
        ("ana", "unlabel"),
    ]


def test_what_is_no_label(loco, filled):
    one = filled.find(limit=1)[0]
    outcome = loco("directions", "label", one.short, "a\x1b[31mb", code=2)
    assert outcome.err.startswith("error: label: expected 1 to 200 printable characters")
    assert "\x1b" not in outcome.err
