import json

import pytest

RECIPE = """
size = 16
channels = [8, 16]
pool = 512
images = 16
batch = 8
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_run_is_trained_exported_and_resumed_with_its_own_recipe(loco, tmp_path, recipe):
    from loco.models.card import read_card

    out = tmp_path / "run"
    options = ("zoo", "train", "--out", out, "--device", "cpu", "--json")
    outcome = loco(*options, "--recipe", recipe, "--batch", 4)
    [record] = outcome.json
    assert record["model"] == str(out / "model")
    assert (record["images"], record["steps"], record["device"]) == (16, 4, "cpu")
    assert record["recipe"] | {"size": 16, "channels": [8, 16], "batch": 4} == record["recipe"]
    assert [line["images"] for line in record["curve"]] == [16]
    assert "16 images, " in outcome.err
    assert "images/s" in outcome.err
    assert "explained variance" in outcome.err
    assert json.loads((out / "curve.jsonl").read_text()) == record["curve"][0]
    card = read_card(out / "model")
    assert card.shape == (3, 16, 16)
    assert card.recommended_t is None
    assert card.extra["training"] == {name: value for name, value in record.items() if name != "model"}
    assert (out / "model" / "curve.png").is_file()

    outcome = loco(*options, "--images", 24)
    [more] = outcome.json
    assert "going on from 16 images" in outcome.err
    assert more["recipe"] == record["recipe"] | {"images": 24}
    assert [line["images"] for line in more["curve"]] == [16, 24]
    assert read_card(out / "model").id != card.id

    weights = (out / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    (out / "model" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    [again] = loco(*options, "--export-only").json
    assert again == more
    assert (out / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights

    assert "choose another folder" in loco(*options, "--size", 64, code=2).err


def test_an_export_needs_a_run(loco, tmp_path):
    assert "train first" in loco("zoo", "train", "--out", tmp_path, "--export-only", code=2).err


def test_bad_recipes_and_devices_are_refused_before_anything_is_written(loco, tmp_path, recipe, monkeypatch):
    out = tmp_path / "run"
    recipe.write_text("colour = 3")
    assert "unknown name 'colour'" in loco("zoo", "train", "--out", out, "--recipe", recipe, code=2).err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "there is no CUDA device" in loco("zoo", "train", "--out", out, "--device", "cuda", code=2).err
    assert not out.exists()
