import importlib

import numpy as np
import pytest
from PIL import Image

from loco.dataset import scan
from loco.folders import Folders
from loco.images import read_image
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.zoo.faces import REGIONS, faces


def test_files_and_masks_are_the_renderers_exactly(loco, tmp_path):
    out = tmp_path / "set"
    [record] = loco(
        "zoo", "render", "--out", out, "--count", 3, "--size", 24, "--seed", 5, "--masks", "--json"
    ).json
    assert record == {
        "folder": str(out),
        "contact": str(tmp_path / "set-contact.png"),
        "images": 3,
        "size": 24,
        "seed": 5,
        "subject": "faces",
        "regions": list(REGIONS),
    }
    expected = faces(5, 3, 24)
    names = [f"{i:05d}.png" for i in range(3)]
    assert sorted(path.name for path in out.iterdir()) == [*names, "masks"]
    for i, name in enumerate(names):
        assert np.array_equal(read_image(out / name).pixels, expected.images[i])
        for region in REGIONS:
            mask = np.asarray(Image.open(out / "masks" / region / name))
            assert mask.dtype == np.bool_
            assert np.array_equal(mask, expected.masks[region][i]), region


def test_the_folder_is_a_dataset_with_these_regions(loco, tmp_path):
    out = tmp_path / "set"
    loco("zoo", "render", "--out", out, "--count", 2, "--masks")
    [record] = loco("dataset", "add", "set", out, "--json").json
    assert record["image_count"] == 2
    assert record["rois"] == sorted(REGIONS)
    found = scan(out)
    roi = resolve_roi(RoiSpec("mouth"), Folders.of(out), found.images[1])
    assert np.array_equal(roi.mask, faces(1, 2, 32).masks["mouth"][1])


def test_without_masks_there_are_none(loco, tmp_path):
    loco("zoo", "render", "--out", tmp_path / "set", "--count", 2)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["00000.png", "00001.png"]


def test_many_are_rendered_in_parts_as_at_once(loco, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("loco.zoo.folder"), "CHUNK", 2)
    loco("zoo", "render", "--out", tmp_path / "set", "--count", 5, "--size", 16)
    expected = faces(1, 5, 16).images
    for i in range(5):
        assert np.array_equal(read_image(tmp_path / "set" / f"{i:05d}.png").pixels, expected[i])


@pytest.mark.parametrize(
    ("count", "masks", "size"),
    [(3, (), (3 * 128, 128)), (3, ("--masks",), (3 * 256, 128)), (9, (), (1024, 256))],
)
def test_the_contact_sheet_shows_the_faces_enlarged(loco, tmp_path, count, masks, size):
    loco("zoo", "render", "--out", tmp_path / "set", "--count", count, "--size", 16, *masks)
    sheet = Image.open(tmp_path / "set-contact.png")
    assert sheet.size == size
    first = faces(1, 1, 16).images[0]
    assert np.array_equal(np.asarray(sheet)[:128, :128], first.repeat(8, 0).repeat(8, 1))


def test_the_same_command_again_goes_over_its_own_files(loco, tmp_path):
    for _ in range(2):
        loco("zoo", "render", "--out", tmp_path / "set", "--count", 2, "--masks")


@pytest.mark.parametrize(
    "stranger", ["holiday.jpg", "00002.png", "0.png", "masks/mouth/00002.png", "masks/hat/0.png"]
)
def test_a_folder_with_other_files_is_refused(loco, tmp_path, stranger):
    path = tmp_path / "set" / stranger
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    outcome = loco("zoo", "render", "--out", tmp_path / "set", "--count", 2, "--masks", code=2)
    assert f"{path} is in the way" in outcome.err
    assert path.read_bytes() == b"mine"


def test_old_masks_would_join_a_set_without_masks(loco, tmp_path):
    loco("zoo", "render", "--out", tmp_path / "set", "--count", 1, "--masks")
    assert "is in the way" in loco("zoo", "render", "--out", tmp_path / "set", "--count", 1, code=2).err
