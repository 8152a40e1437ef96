"""`loco model add`: what is registered, and that the network is run before."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from loco.models.card import WEIGHTS
from registry.files.registered import read_model
from tests.families import build
from tests.toys import save_pipeline, tiny_network


@pytest.fixture
def folder(tmp_path):
    """A diffusers pipeline that is wider than high, with a card."""
    folder = save_pipeline(tmp_path / "pipeline", network=tiny_network(sample_size=(16, 24)))
    (folder / "card.json").write_text(json.dumps({"recommended_t": 0.55}))
    return folder


def changed(folder):
    """Another bias in its network."""
    path = folder / "unet" / WEIGHTS
    tensors = load_file(path)
    tensors["conv_in.bias"] += 1
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_folder(loco, registry, home, folder):
    outcome = loco("model", "add", "mine", folder)
    record = registry.model("mine")
    assert outcome.err.startswith("one forward pass on zeros took ")
    assert outcome.out.splitlines() == [
        "name           mine",
        f"id             {record.id}",
        f"source         {folder}",
        "family         unet2d",
        "predicts       epsilon",
        "size           24 x 16 x 3",
        "schedule       linear, 1000 steps",
        "recommended t  0.55",
        f"added          {record.added_at}",
    ]
    assert (record.shape, record.recommended_t, record.train_steps) == ((3, 16, 24), 0.55, 1000)
    assert read_model(home.models / "mine.json") == record


def test_a_relative_folder_is_kept_in_full(loco, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    [record] = loco("model", "add", "mine", "pipeline", "--json").json
    assert record["source"] == str(folder)


def test_a_name_that_means_another_model_now(loco, folder):
    old = loco("model", "add", "mine", folder, "--json").json[0]["id"]
    assert "another model" not in loco("model", "add", "mine", folder).err
    changed(folder)
    said = loco("model", "add", "mine", folder).err.splitlines()[-1]
    assert said == f"mine was another model before: {folder} (id {old})"


@pytest.mark.parametrize(
    ("name", "source", "code", "message"),
    [
        ("mine", "zoo:none", 1, "zoo model 'none' does not exist"),
        (
            "mine",
            "/nowhere",
            1,
            "model folder /nowhere does not exist; name the folder of a diffusers pipeline",
        ),
        (".mine", "/nowhere", 2, "model name: expected up to 100 of A-Z"),
    ],
)
def test_what_cannot_be(loco, home, name, source, code, message):
    assert loco("model", "add", name, source, code=code).err.startswith(f"error: {message}")
    assert not home.root.exists()


@pytest.mark.parametrize(
    ("name", "file", "change", "found"),
    [
        ("unet2d", "unet/config.json", {"sample_size": 9}, "its network cannot be run so: "),
        ("stable_diffusion", "unet/config.json", {"addition_embed_type": "text_image"}, ""),
        ("stable_diffusion", "unet/config.json", {"num_class_embeds": 4}, "takes class labels"),
        ("stable_diffusion", "unet/config.json", {"class_embed_type": "timestep"}, "takes class labels"),
        (
            "stable_diffusion",
            "unet/config.json",
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "expected plain weights, found unet quantised by 'bitsandbytes'",
        ),
        ("sdxl-refiner", "model_index.json", {"requires_aesthetics_score": False}, "cannot be run so: "),
    ],
)
def test_what_would_fail_at_its_first_use_is_refused_before_it_is_registered(
    loco, registry, tmp_path, name, file, change, found
):
    path = build(name, tmp_path / "model") / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    said = loco("model", "add", "mine", tmp_path / "model", code=1).err
    assert found in said
    assert said.startswith("error: model folder ")
    assert registry.models() == []


def test_weights_that_are_no_numbers_are_refused(loco, registry, folder):
    path = folder / "unet" / WEIGHTS
    tensors = load_file(path)
    tensors["conv_out.bias"][0] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})
    assert "its answer to zeros is not finite" in loco("model", "add", "mine", folder, code=1).err
    assert registry.models() == []


def test_a_model_that_is_told_a_class_is_tried_with_one(loco, tmp_path):
    said = loco("model", "add", "mine", build("unet2d-class", tmp_path / "model")).err
    assert said.startswith("one forward pass on zeros took ")


def test_a_model_larger_than_the_free_memory_is_registered_and_not_run(loco, registry, folder, monkeypatch):
    import flows.device.probing

    monkeypatch.setattr(flows.device.probing, "free_bytes", lambda: 1000)
    said = loco("model", "add", "mine", folder).err
    assert said.startswith("not run: its weights take 0.0 GB, 0.0 GB are free")
    assert [one.name for one in registry.models()] == ["mine"]


ATTENTION = "mid_block.attentions.0.to_q"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (None, "expected a whole safetensors file, found a file that is cut off or of another format"),
        ({"unet.{}.hada_w1_a": (2, 2)}, "expected a LoRA, with factors up and down of each weight"),
        (
            {"unet.nowhere.lora_B.weight": (32, 2), "unet.nowhere.lora_A.weight": (2, 32)},
            "it changes 'nowhere', which UNet2DModel does not have",
        ),
        (
            {"unet.{}.lora_B.weight": (3, 2), "unet.{}.lora_A.weight": (2, 3)},
            "has factors [3, 2] and [2, 3], the model's weight is ",
        ),
    ],
)
def test_a_lora_that_does_not_fit_is_refused_before_it_is_registered(loco, home, tmp_path, tensors, said):
    file = tmp_path / "style.safetensors"
    if tensors is None:
        file.write_bytes(bytes(range(256)) * 4)
    else:
        save_file({name.format(ATTENTION): torch.zeros(shape) for name, shape in tensors.items()}, file)
    assert said in loco("model", "add", "styled", "zoo:faces32", "--lora", file, code=1).err
    assert not (home.models / "styled.json").exists()


def test_a_lora_is_read_where_the_network_does_not_fit_into_memory(loco, tmp_path, monkeypatch):
    file = tmp_path / "style.safetensors"
    file.write_bytes(bytes(range(256)) * 4)
    monkeypatch.setattr("flows.device.probing.free_bytes", lambda: 0)
    said = loco("model", "add", "styled", "zoo:faces32", "--lora", file, code=1).err
    assert "expected a whole safetensors file" in said


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("1", "expected height and width of at least 2 pixels, found 1 x 1"),
        ("64x1", "expected height and width of at least 2 pixels, found 64 x 1"),
        ("33", "its network cannot be run so"),
    ],
)
def test_a_size_that_the_network_does_not_bear_is_refused(loco, home, size, said):
    assert said in loco("model", "add", "other", "zoo:faces32", "--size", size, code=1).err
    assert not (home.models / "other.json").exists()
