def test_counts(loco, filled):
    assert loco("registry", "summary").out.splitlines() == [
        "models      1",
        "datasets    1",
        "images      3",
        "rois        2",
        "runs        0",
        "bases       4",
        "directions  7",
        "edits       0",
    ]


def test_an_empty_home_stays_empty(loco, home):
    assert set(loco("registry", "summary", "--json").json[0].values()) == {0}
    assert not home.root.exists()
