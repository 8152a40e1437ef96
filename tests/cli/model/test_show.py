def test_all_that_is_known(loco, filled):
    assert loco("model", "show", "faces").out.splitlines() == [
        "name           faces",
        "id             ab08d6d9e3049b3ffaa2c86aa334e6e3",
        "source         zoo:faces",
        "family         unet2d",
        "predicts       epsilon",
        "size           5 x 4 x 3",
        "schedule       linear, 1000 steps",
        "recommended t  0.6",
        "added          2026-11-20T10:00:00",
    ]
    assert loco("model", "show", "faces", "--json").json[0]["train_steps"] == 1000


def test_an_unknown_one(loco, filled):
    message = "no model is called 'face'; known are faces; add one with `loco model add NAME SOURCE`"
    assert loco("model", "show", "face", code=2).err == f"error: {message}"
    [answer] = loco("model", "show", "face", "--json", code=2).json
    assert answer == {"error": {"type": "UnknownName", "message": message}}
