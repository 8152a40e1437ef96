"""Attribute readers: one safetensors file says everything, and what is no reader's is refused with the reason."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from loco.errors import InputError, ModelError, UnknownName
from loco.scorers.opening import open_scorer, split
from loco.scorers.reader import ARCHITECTURES, ReaderCard, read_reader, write_reader

CARD = ReaderCard(
    "residual", 16, (4, 8, 8), ("smile", "hair"), (("frown", "smile"), ("shorter", "longer")), (0.9, 0.5)
)


@pytest.fixture(params=sorted(ARCHITECTURES))
def file(request, tmp_path):
    torch.manual_seed(0)
    card = replace(CARD, kind=request.param)
    network = ARCHITECTURES[card.kind](card).eval()
    path = tmp_path / "reader.safetensors"
    write_reader(path, network, card)
    return path, network, card


def test_a_reader_gives_the_numbers_of_the_network_that_was_written_to_float16(file):
    path, network, card = file
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    scorer = open_scorer(str(path))
    assert scorer(images).shape == (3, 2)
    assert torch.allclose(scorer(images), network(images), atol=5e-3)
    assert (scorer.names, scorer.words) == (card.names, card.words)
    assert read_reader(path)[0] == card


def test_a_reader_scales_images_to_its_own_size_and_its_gradient_reaches_them(file):
    images = torch.zeros(1, 3, 40, 40, requires_grad=True)
    open_scorer(str(file[0])).one("SMILE")(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().amax(dim=(0, 1)).gt(0).float().mean() > 0.5


def test_the_id_of_a_reader_is_that_of_its_bytes(file, tmp_path):
    _, network, card = file
    write_reader(tmp_path / "again.safetensors", network, card)
    write_reader(tmp_path / "other.safetensors", network, replace(card, names=("smile", "fringe")))
    first, again, other = (
        open_scorer(str(tmp_path / f"{name}.safetensors")).id for name in ("reader", "again", "other")
    )
    assert first == again != other


def test_a_number_that_it_does_not_have_is_named_with_those_that_it_has(file):
    with pytest.raises(UnknownName, match="no number 'nose'; it has: smile, hair"):
        open_scorer(str(file[0])).one("nose")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "pickle"}, "expected one of residual, plain"),
        ({"size": 10_000}, "its size is 10000"),
        ({"size": 18, "widths": [4, 8, 8, 8]}, "halvings do not divide"),
        ({"widths": [4, 1_000_000, 8]}, "its widths"),
        ({"names": ["a", "a"]}, "expected as many of each, different"),
        ({"names": ["a"]}, "expected as many of each"),
        ({"size": "large"}, "its size: Input should be a valid integer"),
        ({"code": "import os"}, "Unexpected keyword argument"),
        ({"widths": [8, 8, 8]}, "size mismatch"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_its_reason(file, change, said):
    path, _, card = file
    told = json.loads(json.dumps(vars(card))) | change
    save_file(load_file(path), path, {"card": json.dumps(told)})
    with pytest.raises(ModelError, match=said):
        read_reader(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64, b"PK\x03\x04" + bytes(60)])
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"x\.safetensors is no attribute reader"):
        read_reader(path)


def test_weights_that_are_not_finite_are_refused(file):
    path, _, card = file
    tensors = load_file(path)
    tensors["head.2.bias"] = torch.full_like(tensors["head.2.bias"], torch.nan)
    save_file(tensors, path, {"card": json.dumps(vars(card))})
    with pytest.raises(ModelError, match="not all finite"):
        read_reader(path)


@pytest.mark.parametrize("text", ["zoo:reader", "#smile", "zoo:reader#", ""])
def test_a_number_is_asked_for_as_scorer_and_name(text):
    with pytest.raises(InputError, match="expected SCORER#NAME"):
        split(text)
    assert split("a#b/c#smile") == ("a#b/c", "smile")


def test_a_scorer_that_is_not_there_says_what_may_be_named(tmp_path):
    with pytest.raises(ModelError, match=r"expected zoo:reader, a \.safetensors file, a folder"):
        open_scorer(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="zoo scorer 'none' does not exist; known are"):
        open_scorer("zoo:none")
