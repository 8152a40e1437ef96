from dataclasses import asdict

from tests.registry.builders import make_model


def test_none(loco):
    outcome = loco("model", "list")
    assert outcome.out == ""
    assert outcome.err == "no model is registered yet; add one with `loco model add NAME SOURCE`"
    assert loco("model", "list", "--json").out == ""


def test_some(loco, registry):
    registry.add_model(make_model())
    registry.add_model(make_model("other", source="/models/o\x1bther", recommended_t=None))
    outcome = loco("model", "list")
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "name   id            family  size       recommended t  source",
        "faces  ab08d6d9e304  unet2d  5 x 4 x 3            0.6  zoo:faces",
        "other  ab08d6d9e304  unet2d  5 x 4 x 3              -  /models/o\\x1bther",
    ]


def test_for_programs(loco, filled):
    assert loco("model", "list", "--json").json == [{**asdict(make_model()), "shape": [3, 4, 5]}]
