"""Regions from segmentation models: real classes of `transformers`, tiny and with random weights."""

import numpy as np
import pytest
import torch
from transformers import (
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from loco.dataset import ScannedImage
from loco.errors import InputError, ModelError, RoiError
from loco.folders import Folders
from loco.images import Picture
from loco.rois import segment
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.segment import Segmenter, segmented
from tests import segmenters

SIZE = (20, 30)


@pytest.fixture(scope="module")
def semantic(tmp_path_factory):
    return segmenters.semantic(tmp_path_factory.mktemp("semantic"))


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam")
    vision = SamVisionConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        output_channels=16,
        mlp_dim=16,
        window_size=2,
        global_attn_indexes=[0],
        num_pos_feats=8,
    )
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=32, patch_size=8, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=16
    )
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Picture(pixels, "a" * 64, "photo.png")


def ask(name, text, photo, cache=None):
    return segmented(name, Segmenter.parse(name, text), photo, lambda: photo, cache)


def test_the_classes_partition_the_image(semantic, photo):
    labels = segment._labels(semantic, photo)
    for number, name in enumerate(("skin", "hair", "nose")):
        if (labels == number).any():
            assert np.array_equal(ask(name, f"segment:{semantic}", photo).mask, labels == number)
        else:
            with pytest.raises(RoiError, match=f"sees no {name} in it"):
                ask(name, f"segment:{semantic}", photo)


def test_by_another_name_or_number(semantic, photo):
    labels = segment._labels(semantic, photo)
    most = int(np.bincount(labels.ravel()).argmax())
    name = ["skin", "Hair", "nose"][most]
    for what in (name, name.upper(), str(most)):
        one = ask("region", f"segment:{semantic}#{what}", photo)
        assert np.array_equal(one.mask, labels == most)
    with pytest.raises(InputError, match="has no class 'ear'; it has: skin, Hair, nose"):
        ask("region", f"segment:{semantic}#ear", photo)


def test_what_it_says_is_kept_by_content(semantic, photo, tmp_path, monkeypatch):
    most = int(np.bincount(segment._labels(semantic, photo).ravel()).argmax())
    text = f"segment:{semantic}#{most}"
    first = ask("region", text, photo, tmp_path)
    [file] = tmp_path.rglob("*.png")
    with monkeypatch.context() as patched:
        patched.setattr(segment, "_open", lambda *_: pytest.fail("the model was opened"))
        assert ask("region", text, photo, tmp_path) == first
    file.write_bytes(b"damaged")
    assert ask("region", text, photo, tmp_path) == first
    ask("region", text, Picture(photo.pixels, "b" * 64, "other.png"), tmp_path)
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_no_file_is_read_where_the_picture_is_at_hand_and_none_decoded_where_the_answer_is_kept(
    semantic, photo, tmp_path
):
    """A region of a picture that came from anywhere: a layout asks for the picture, and only to look at it."""
    most = int(np.bincount(segment._labels(semantic, photo).ravel()).argmax())
    spec, nowhere = RoiSpec.parse(f"region=segment:{semantic}#{most}"), Folders(tmp_path / "nowhere", None)
    first = resolve_roi(spec, nowhere, photo, tmp_path / "kept")
    assert first == ask("region", f"segment:{semantic}#{most}", photo)
    record = ScannedImage(photo.id, photo.name, SIZE[1], SIZE[0])
    looked = []
    assert resolve_roi(spec, nowhere, record, tmp_path / "kept", lambda: looked.append(1) or photo) == first
    assert looked == []
    assert resolve_roi(spec, nowhere, record, None, lambda: looked.append(1) or photo) == first
    assert looked == [1]


def test_sam_at_a_point(sam, photo, tmp_path):
    one = ask("thing", f"sam:{sam}@0.5,0.4", photo, tmp_path)
    assert one.mask.shape == SIZE
    assert one == ask("thing", f"sam:{sam}@0.5,0.4", photo, tmp_path)
    assert np.array_equal(one.mask, ask("thing", f"sam:{sam}@0.5,0.4", photo).mask)


def test_sam_by_itself_the_largest_first(sam, photo, tmp_path):
    areas = []
    for k in range(16):
        try:
            areas.append(ask("thing", f"sam:{sam}#{k}", photo, tmp_path).area)
        except RoiError:
            break
    assert areas == sorted(areas, reverse=True)
    assert len(list(tmp_path.rglob("*.png"))) == 1


@pytest.mark.parametrize("text", ["segment:", "sam:folder", "sam:folder@2,3", "sam:folder@x", "sam:folder#k"])
def test_what_asks_for_nothing(text):
    with pytest.raises(InputError, match="expected NAME=segment:FOLDER"):
        RoiSpec.parse(f"thing={text}")


@pytest.mark.parametrize(
    "text", ["hair=segment:/models/seg#hair", "face=sam:/models/sam@0.5,0.25", "p=sam:/m#3"]
)
def test_text_and_back(text):
    assert str(RoiSpec.parse(text)) == text


def test_a_folder_that_is_no_model(tmp_path, photo):
    with pytest.raises(ModelError, match="no segmentation model"):
        ask("hair", f"segment:{tmp_path}", photo)
