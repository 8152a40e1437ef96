from tests.families import build


def test_what_its_folder_says(loco, tmp_path):
    loco("model", "add", "mine", build("stable_diffusion", tmp_path / "model"))
    lines = loco("model", "show", "mine").out.splitlines()
    assert lines[3] == "family         stable_diffusion"
    assert lines[5] == "size           16 x 16 x 3"
    assert lines[-5:] == [
        "works on       8 x 8 x 4 latents",
        "is told        words",
        "weights        113,723 in unet, vae, text_encoder; stored as F32",
        "products       exact forward and reverse, differences",
        "attention      plain (math)",
    ]
    assert loco("model", "show", "mine", "--json").json[0]["is_told"] == "words"


def test_all_that_is_known(loco, filled):
    outcome = loco("model", "show", "faces")
    assert outcome.err.startswith("its files are not to be read here: zoo model 'faces' does not exist")
    assert outcome.out.splitlines() == [
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
