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


def legacy_attention(state, name, heads, x):
    """The original's formula: head by head, its queries, keys and values side by side in one convolution."""
    batch, width, *size = x.shape
    flat = x.reshape(batch, width, -1)
    normed = torch.nn.functional.group_norm(
        flat, 32, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
    )
    qkv = torch.nn.functional.conv1d(normed, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"])
    q, k, v = qkv.reshape(batch * heads, 3 * width // heads, -1).split(width // heads, dim=1)
    scale = (width // heads) ** -0.25
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), dim=-1)
    mixed = torch.einsum("bts,bcs->bct", weight, v).reshape(batch, width, -1)
    out = torch.nn.functional.conv1d(mixed, state[f"{name}.proj_out.weight"], state[f"{name}.proj_out.bias"])
    return (flat + out).reshape(batch, width, *size)


def test_four_heads_at_two_widths_are_four_heads_at_both_by_the_original_s_formula(tmp_path):
    """As imagenet64_uncond_100M_1500K.pt has them."""
    state = state_of("adm")
    torch.save(state, tmp_path / "model.pt")
    out = convert(tmp_path / "model.pt", tmp_path / "out", Spoken(size=16, heads=4))
    _, denoiser = open_folder(out)
    found = {}

    def listen(module, inputs, output):
        found[len(output[0])] = inputs[0], output

    from diffusers.models.attention_processor import Attention

    for module in denoiser.network.modules():
        if isinstance(module, Attention):
            assert module.heads == 4
            module.register_forward_hook(listen)
    denoiser.posterior_mean(torch.randn(1, 3, 16, 16), 0.5)
    assert set(found) == {64, 96}
    names = [key.removesuffix(".qkv.weight") for key in state if key.endswith("qkv.weight")]
    for width, (x, y) in found.items():
        gaps = [
            float((legacy_attention(state, name, 4, x) - y).abs().max())
            for name in names
            if len(state[f"{name}.norm.weight"]) == width
        ]
        assert min(gaps) < 1e-4


def test_heads_that_do_not_divide_a_width_cannot_be(tmp_path):
    torch.save(state_of("adm"), tmp_path / "model.pt")
    said = refused(tmp_path / "model.pt", tmp_path, Spoken(size=16, heads=5))
    assert "attention of widths [64, 96] does not split into 5 heads" in said


@pytest.mark.parametrize(("rescaled", "expected"), [(True, 0.25), (False, 1.0)])
def test_of_4000_steps_step_k_is_told_as_k_1000_over_4000(tmp_path, rescaled, expected):
    """Improved diffusion's _scale_timesteps; its networks were trained so (cifar10_uncond_50M_500K.pt)."""
    torch.save(state_of("improved"), tmp_path / "model.pt")
    spoken = Spoken(size=16, heads=4, schedule="cosine", steps=4000, rescaled=rescaled)
    card, denoiser = open_folder(convert(tmp_path / "model.pt", tmp_path / "out", spoken))
    x_t, step = torch.randn(1, 3, 16, 16), denoiser.schedule.step(0.6)
    assert (card.train_steps, step) == (4000, 2399)
    with torch.no_grad():
        output = denoiser.network(x_t, torch.tensor([step * expected])).sample[:, :3]
        found = denoiser.posterior_mean(x_t, 0.6)
    signal, noise = denoiser.schedule.signal(0.6), denoiser.schedule.noise(0.6)
    torch.testing.assert_close(found, (x_t - noise * output) / signal, rtol=1e-4, atol=1e-4)


def test_the_clock_is_in_the_id(tmp_path):
    torch.save(state_of("improved"), tmp_path / "model.pt")
    ids = {
        open_folder(
            convert(
                tmp_path / "model.pt",
                tmp_path / f"{steps}{rescaled}",
                Spoken(size=16, heads=4, steps=steps, rescaled=rescaled),
            )
        )[0].id
        for steps, rescaled in ((1000, True), (1000, False), (4000, True), (4000, False))
    }
    assert len(ids) == 3  # of 1000 steps both are the same model


def test_nothing_is_overwritten(tmp_path, checkpoint):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        convert(checkpoint, tmp_path / "out", SPOKEN["p2"])
