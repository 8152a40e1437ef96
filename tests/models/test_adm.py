"""Conversion of P2 and ADM checkpoints: the converted network answers as the original implementation did."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loco.errors import InputError, ModelError
from loco.models.adm import Spoken, convert
from loco.models.diffusers_folder import open_folder

DATA = Path(__file__).parent / "data" / "adm"
SPOKEN = {
    "p2": Spoken(size=16, head_channels=32),
    "adm": Spoken(size=16, head_channels=32),
    "improved": Spoken(size=16, heads=4),
    "new-order": Spoken(size=16, head_channels=32, new_order=True),
}


def weight(name, shape):
    """As tests/models/data/adm/README.md says."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    draw = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith("bias"):
        return 0.1 * draw
    return 1 + 0.1 * draw if len(shape) == 1 else draw / np.sqrt(np.prod(shape[1:]))


def state_of(name):
    shapes = json.loads((DATA / f"{name}.json").read_text())["shapes"]
    return {key: torch.from_numpy(weight(key, tuple(shape))).float() for key, shape in shapes.items()}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(state_of("p2"), path)
    return path


@pytest.mark.parametrize("name", SPOKEN)
def test_the_converted_network_answers_as_the_original(tmp_path, name, record_property):
    torch.save(state_of(name), tmp_path / "model.pt")
    card, denoiser = open_folder(convert(tmp_path / "model.pt", tmp_path / "out", SPOKEN[name]))
    assert (card.family, card.prediction_type, card.shape) == ("unet2d", "epsilon", (3, 16, 16))
    x = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 16, 16))).float()
    with torch.no_grad():
        found = denoiser.network(x, torch.tensor([17, 640])).sample.numpy()
    expected = np.load(DATA / f"{name}.npz")["output"]
    assert found.shape == expected.shape
    gap = float(np.abs(found - expected).max())
    record_property("gap", gap)
    assert gap < 1e-4
    assert denoiser.posterior_mean(x, 0.5).shape == x.shape  # learned variance is left out


@pytest.mark.parametrize("wrap", ["ema", "model", "state_dict"])
def test_nested_prefixed_and_safetensors_are_the_same_model(tmp_path, checkpoint, wrap):
    plain = open_folder(convert(checkpoint, tmp_path / "plain", SPOKEN["p2"]))[0]
    torch.save(
        {wrap: {f"module.{key}": value for key, value in state_of("p2").items()}}, tmp_path / "nested.pt"
    )
    save_file(state_of("p2"), tmp_path / "model.safetensors")
    for source in ("nested.pt", "model.safetensors"):
        assert (
            open_folder(convert(tmp_path / source, tmp_path / f"{source}-out", SPOKEN["p2"]))[0].id
            == plain.id
        )


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def refused(source, tmp_path, spoken=SPOKEN["p2"]):
    with pytest.raises(ModelError) as caught:
        convert(source, tmp_path / "out", spoken)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.partial"))
    return str(caught.value)


def test_a_checkpoint_that_would_run_code_is_not_run(tmp_path):
    source, mark = tmp_path / "model.pt", tmp_path / "ran"
    torch.save({"weights": torch.zeros(1), "bomb": Bomb(mark)}, source)
    assert "holds more than tensors, which can run code when opened" in refused(source, tmp_path)
    source.write_bytes(pickle.dumps(Bomb(mark)))
    assert "holds more than tensors" in refused(source, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_checkpoint_that_is_cut_short(tmp_path, checkpoint, keep):
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: keep if keep > 1 else int(keep * len(data))])
    assert refused(checkpoint, tmp_path).startswith(f"checkpoint {checkpoint}")


def test_checkpoints_of_something_else(tmp_path, checkpoint):
    state = state_of("p2")

    def told(changed, spoken=SPOKEN["p2"]):
        torch.save(changed, checkpoint)
        return refused(checkpoint, tmp_path, spoken)

    assert "expected the U-Net of guided or improved diffusion, found no time_embed.0.weight" in told({})
    assert "takes class labels" in told(state | {"label_emb.weight": torch.zeros(10, 128)})
    assert "among them extra.weight" in told(state | {"extra.weight": torch.zeros(1)})
    less = {key: value for key, value in state.items() if key != "middle_block.0.out_layers.3.bias"}
    assert "its weights do not fit together" in told(less)
    assert "does not split into heads of 48" in told(state, Spoken(size=16, head_channels=48))
    assert "expected a table of tensors" in told([torch.zeros(1)])
    assert "expected a table of tensors" in told({"a": 1})
    assert refused(tmp_path / "none.pt", tmp_path).startswith(
        f"checkpoint {tmp_path / 'none.pt'} cannot be read: "
    )


def test_heads_that_differ_in_width_cannot_be(tmp_path):
    torch.save(state_of("adm"), tmp_path / "model.pt")
    assert "4 heads at widths [64, 96]" in refused(tmp_path / "model.pt", tmp_path, Spoken(size=16, heads=4))


def test_nothing_is_overwritten(tmp_path, checkpoint):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        convert(checkpoint, tmp_path / "out", SPOKEN["p2"])
