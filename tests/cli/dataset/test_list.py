from tests.registry.builders import make_dataset


def test_none(loco):
    outcome = loco("dataset", "list")
    assert outcome.out == ""
    assert outcome.err == "no dataset is registered yet; add one with `loco dataset add NAME PATH`"


def test_some(loco, registry):
    registry.add_dataset(make_dataset())
    registry.add_dataset(make_dataset("big", range(60), rois=(), unreadable=()))
    outcome = loco("dataset", "list")
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "name       images  unreadable  regions      path",
        "big            60           0  -            /data/portraits",
        "portraits       3           1  hair, mouth  /data/portraits",
    ]
    big, portraits = loco("dataset", "list", "--json").json
    assert (big["image_count"], portraits["image_count"]) == (60, 3)
    assert portraits["unreadable"] == [["torn.png", "truncated"]]
    assert "images" not in big
