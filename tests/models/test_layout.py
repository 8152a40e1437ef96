"""Model folders that are broken, hostile or of two models: refused with the reason, and nothing in them runs."""

import contextlib
import json
import pickle
import shutil
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from loco.models.layout import find_weights, read_header
from tests.families import build


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        name: build(name, root / name)
        for name in ("stable_diffusion", "sdxl", "deepfloyd_if", "flux-dev", "dit")
    }


@pytest.fixture
def copy(saved, tmp_path):
    return lambda name: shutil.copytree(saved[name], tmp_path / name)


def message(act, *arguments):
    with pytest.raises(ModelError) as caught:
        act(*arguments)
    return str(caught.value)


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# The header of a safetensors file


def written(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


FLOATS = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_a_sound_header_is_the_library_s_own(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header(tmp_path / "x.safetensors")
    assert {name: tuple(entry["shape"]) for name, entry in header.items()} == {"a": (2, 3), "b": (4,)}
    assert read_header(written(tmp_path / "y.safetensors", {"a": FLOATS}, b"8 bytes!")) == {"a": FLOATS}


@pytest.mark.parametrize(
    ("header", "body", "found"),
    [
        ({"a": FLOATS}, b"", "it is cut off, or has more"),
        ({"a": FLOATS}, b"8 bytes! and more", "it is cut off, or has more"),
        ({"a": FLOATS | {"shape": [3]}}, b"8 bytes!", "an entry 'a' that does not describe a tensor"),
        (
            {"a": FLOATS | {"data_offsets": [8, 0]}},
            b"8 bytes!",
            "an entry 'a' that does not describe a tensor",
        ),
        (
            {"a": FLOATS | {"data_offsets": [-8, 0]}},
            b"8 bytes!",
            "an entry 'a' that does not describe a tensor",
        ),
        ({"a": [1]}, b"", "an entry 'a' that does not describe a tensor"),
        ({"a": FLOATS, "b": FLOATS}, b"8 bytes!", "tensors with gaps or overlaps"),
        (b"[1, 2]", b"", "a header that is no table"),
        (b"{1, 2]", b"", "a header that is not JSON"),
    ],
)
def test_headers_that_lie(tmp_path, header, body, found):
    path = written(tmp_path / "x.safetensors", header, body)
    assert found in message(read_header, path)


def test_a_header_that_says_it_is_longer_than_the_file(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "cut off or of another format" in message(read_header, tmp_path / "x.safetensors")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "x.safetensors"
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        assert isinstance(read_header(path), dict)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_under_another_name_is_not_opened(copy, tmp_path, protocol):
    folder, mark = copy("stable_diffusion"), tmp_path / "ran"
    weights = folder / "text_encoder" / "model.safetensors"
    weights.write_bytes(pickle.dumps(Bomb(mark), protocol))
    assert "found a pickle, which can run code when opened; it is not read" in message(open_folder, folder)
    torch.save({"bomb": Bomb(mark)}, weights)
    assert "found a pickle" in message(open_folder, folder)
    weights.rename(weights.with_name("pytorch_model.bin"))
    assert "expected weights in text_encoder/model.safetensors, found pytorch_model.bin" in message(
        open_folder, folder
    )
    assert not mark.exists()


# Shards


def sharded(place):
    """Split the weights in two files, as large models are saved."""
    [path] = place.glob("*.safetensors")
    tensors = load_file(path)
    names = sorted(tensors)
    table = {}
    for i, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"{path.stem}-0000{i}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, place / file, metadata={"format": "pt"})
        table |= dict.fromkeys(part, file)
    path.unlink()
    index = place / f"{path.stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))
    return index


def test_a_model_in_shards_is_opened(copy, saved):
    folder = copy("stable_diffusion")
    sharded(folder / "unet")
    card, denoiser = open_folder(folder)
    assert len(card.weights["unet"].files) == 2
    x_t = torch.randn(1, *card.shape)
    whole = open_folder(saved["stable_diffusion"])[1]
    torch.testing.assert_close(denoiser.posterior_mean(x_t, 0.5), whole.posterior_mean(x_t, 0.5))


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", 7])
def test_shards_elsewhere_are_not_followed(copy, name):
    folder = copy("stable_diffusion")
    index = sharded(folder / "unet")
    rewrite(index, weight_map={"a": name})
    assert "expected a weight_map of plain file names" in message(read_card, folder)


def test_a_shard_that_is_missing(copy):
    folder = copy("stable_diffusion")
    sharded(folder / "unet")
    next((folder / "unet").glob("*-00002-of-*")).unlink()
    assert "it names diffusion_pytorch_model-00002-of-00002.safetensors, which is not there" in message(
        read_card, folder
    )


def test_half_precision_files_are_found_by_their_name(copy):
    folder = copy("stable_diffusion")
    for part in ("unet", "vae", "text_encoder"):
        [path] = (folder / part).glob("*.safetensors")
        tensors = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(tensors, path.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        path.unlink()
    card, denoiser = open_folder(folder)
    assert card.dtypes == ("F16",)
    assert find_weights(folder, folder / "unet").variant == "fp16"
    assert denoiser.posterior_mean(torch.randn(1, *card.shape), 0.5).dtype == torch.float32


def test_weights_whole_and_in_shards_side_by_side_are_refused(copy):
    folder = copy("stable_diffusion")
    whole = next((folder / "unet").glob("*.safetensors"))
    data = whole.read_bytes()
    sharded(folder / "unet")
    whole.write_bytes(data)
    assert (
        "expected one set of weights, found unet/diffusion_pytorch_model.safetensors and "
        "unet/diffusion_pytorch_model.safetensors.index.json, which may differ" in message(read_card, folder)
    )


# What is missing


@pytest.mark.parametrize(
    ("name", "missing", "found"),
    [
        (
            "stable_diffusion",
            "text_encoder",
            "(a CLIPTextModel) in text_encoder/config.json, found no such file",
        ),
        ("stable_diffusion", "vae", "(a AutoencoderKL) in vae/config.json, found no such file"),
        ("stable_diffusion", "unet", "the network's configuration in unet/config.json, found no such file"),
        ("stable_diffusion", "scheduler", "in scheduler/scheduler_config.json, found no such file"),
        (
            "flux-dev",
            "text_encoder_2",
            "(a T5EncoderModel) in text_encoder_2/config.json, found no such file",
        ),
    ],
)
def test_a_part_that_is_missing_is_named_by_its_own_path_and_class(copy, name, missing, found):
    """Even where something lies in the root that it could be taken for."""
    folder = copy(name)
    shutil.move(folder / missing, folder.parent / "elsewhere")
    if missing != "unet" and missing != "scheduler":
        (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}')
        (folder / "model.safetensors").write_bytes(b"?")
    assert found in message(read_card, folder)


def test_weights_that_are_missing_are_named_in_their_own_folder(copy):
    folder = copy("stable_diffusion")
    (folder / "text_encoder" / "model.safetensors").unlink()
    assert "expected weights in text_encoder/model.safetensors, found no such file" in message(
        read_card, folder
    )


# What is told is in the id


def test_how_nothing_is_told_is_in_the_id(copy):
    folder = copy("sdxl")
    before = read_card(folder).id
    rewrite(folder / "model_index.json", force_zeros_for_empty_prompt=True)
    assert read_card(folder).id == before  # the default
    rewrite(folder / "model_index.json", force_zeros_for_empty_prompt=False)
    assert read_card(folder).id != before


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_the_token_for_padding_is_in_the_id(copy, file):
    folder = copy("stable_diffusion")
    before = read_card(folder).id
    settings = folder / "tokenizer" / "tokenizer_config.json"
    told = json.loads(settings.read_text())
    told.pop("pad_token", None)
    settings.write_text(json.dumps(told))
    (folder / "tokenizer" / "special_tokens_map.json").unlink(missing_ok=True)
    path = folder / "tokenizer" / file
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | {"pad_token": {"content": "!", "lstrip": False}}))
    changed = read_card(folder).id
    assert changed != before
    path.write_text(json.dumps(held | {"pad_token": "!"}))
    assert read_card(folder).id == changed
    path.write_text(json.dumps(held | {"pad_token": "<|endoftext|>"}))
    assert read_card(folder).id == before


# Parts that do not belong together


@pytest.mark.parametrize(
    ("name", "file", "change", "found"),
    [
        ("stable_diffusion", "vae/config.json", {"latent_channels": 16}, "found one on 4"),
        ("stable_diffusion", "unet/config.json", {"in_channels": 8}, "found one on 8"),
        ("stable_diffusion", "unet/config.json", {"sample_size": None, "_": 0}, ""),
        ("stable_diffusion", "unet/config.json", {"cross_attention_dim": 24}, "its weights cannot be loaded"),
        ("stable_diffusion", "text_encoder/config.json", {"hidden_size": 24}, "its weights cannot be loaded"),
        (
            "stable_diffusion",
            "text_encoder/config.json",
            {"architectures": ["GPT2Model"]},
            "found 'GPT2Model'",
        ),
        ("stable_diffusion", "text_encoder/config.json", {"vocab_size": 5}, ""),
        ("stable_diffusion", "model_index.json", {"tokenizer": ["evil", "Tokenizer"]}, "found 'Tokenizer'"),
        (
            "stable_diffusion",
            "unet/config.json",
            {"_class_name": "UNet3DConditionModel"},
            "UNet3DConditionModel",
        ),
        (
            "stable_diffusion",
            "scheduler/scheduler_config.json",
            {"rescale_betas_zero_snr": True},
            "where x0 cannot be told from epsilon",
        ),
        (
            "stable_diffusion",
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "found 'FlowMatchEulerDiscreteScheduler'",
        ),
        (
            "stable_diffusion",
            "scheduler/scheduler_config.json",
            {"trained_betas": [0.1, 2.0]},
            "its noise schedule is none|expected alpha_bar to fall",
        ),
        ("deepfloyd_if", "unet/config.json", {"num_class_embeds": 3}, "takes class labels"),
        ("flux-dev", "transformer/config.json", {"in_channels": 4}, "found one on 4"),
    ],
)
def test_parts_of_two_models(copy, name, file, change, found):
    folder = copy(name)
    rewrite(folder / file, **change)
    if not found:
        with contextlib.suppress(ModelError):
            open_folder(folder)
        return
    text = message(open_folder, folder)
    assert any(part in text for part in found.split("|")), text


def test_a_vocabulary_of_another_model(copy):
    folder = copy("deepfloyd_if")
    rewrite(folder / "text_encoder/config.json", vocab_size=5)
    text = message(open_folder, folder)
    assert "its weights cannot be loaded" in text or "they are not of one model" in text


def test_code_in_a_folder_is_not_run(copy, tmp_path):
    """Custom code that a folder brings along (`auto_map`, a custom pipeline) is left where it is."""
    folder, mark = copy("stable_diffusion"), tmp_path / "ran"
    for place in (folder, folder / "unet", folder / "tokenizer", folder / "text_encoder"):
        (place / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    rewrite(folder / "unet/config.json", auto_map={"AutoModel": "evil.Network"})
    rewrite(folder / "text_encoder/config.json", auto_map={"AutoModel": "evil.Encoder"})
    rewrite(folder / "tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    open_folder(folder)
    assert not mark.exists()


def test_without_transformers_the_reason_is_said(copy, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    text = message(open_folder, copy("stable_diffusion"))
    assert text.endswith("needs transformers; install it with `pip install 'loco-edit-service[text]'`")
