import json

import numpy as np
import pytest
from safetensors.numpy import save

from loco.models.card import WEIGHTS
from registry.files.registered import read_model


def weights(*values):
    return save({"weights": np.array(values, np.float32)})


@pytest.fixture
def folder(tmp_path):
    """What `read_card` looks at of a diffusers pipeline; the weights are two numbers."""
    folder = tmp_path / "pipeline"
    parts = {
        "model_index.json": {"_class_name": "DDPMPipeline"},
        "unet/config.json": {"_class_name": "UNet2DModel", "sample_size": [16, 24], "in_channels": 3},
        "scheduler/scheduler_config.json": {"num_train_timesteps": 1000, "beta_schedule": "linear"},
        "card.json": {"recommended_t": 0.55},
    }
    for name, content in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "unet" / WEIGHTS).write_bytes(weights(1, 2))
    return folder


def test_a_folder(loco, registry, home, folder):
    outcome = loco("model", "add", "mine", folder)
    record = registry.model("mine")
    assert outcome.err == ""
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
    assert loco("model", "add", "mine", folder).err == ""
    (folder / "unet" / WEIGHTS).write_bytes(weights(1, 3))
    assert loco("model", "add", "mine", folder).err == f"mine was another model before: {folder} (id {old})"


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
