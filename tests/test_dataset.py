"""Datasets on disk: scanning, layouts of masks, and what is refused."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loco.dataset import ScannedImage, scan
from loco.errors import ImageError, InputError, RoiError, UnknownName
from loco.folders import Folders, open_image
from loco.ids import file_id
from loco.images import EXTENSIONS
from loco.rois.layouts import RoiSpec, resolve_roi


def put(path, pixels=None, seed=0, shape=(6, 8, 3)):
    """Write an image file, noise where no pixels are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(top=3):
    pixels = np.zeros((6, 8), np.uint8)
    pixels[:top] = 255
    return pixels


@pytest.fixture
def root(tmp_path):
    """Three images, one of them in a folder of its own."""
    folder = tmp_path / "faces"
    put(folder / "a.png", seed=1)
    put(folder / "b.bmp", seed=2, shape=(5, 9, 3))
    put(folder / "more/c.png", seed=3)
    return folder


def image_of(result, name):
    return next(image for image in result.images if image.name == name)


# --- scanning -------------------------------------------------------------------------------------


def test_scan_lists_images_sizes_hashes_and_progress(root):
    done = []
    found = scan(root, progress=done.append)
    assert [image.name for image in found.images] == ["a.png", "b.bmp", "more/c.png"]
    assert found.images[1] == ScannedImage(file_id(root / "b.bmp"), "b.bmp", width=9, height=5)
    assert done == [1, 2, 3]
    assert (found.unreadable, found.rois, found.folders) == ((), (), Folders(root, None))


def test_the_fingerprint_is_of_images_masks_and_classes(root, tmp_path):
    first = scan(root)
    assert len(first.id) == 32
    assert scan(root).id == first.id
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    (copy / "a.png").rename(copy / "z.png")
    assert scan(copy).id == first.id
    put(root / "masks/eyes/a.png", mask())
    with_folder = scan(root)
    shutil.rmtree(root / "masks")
    put(root / "masks/eyes.png", mask())
    shared = scan(root)
    (root / "masks/eyes.png").unlink()
    (root / "masks/classes.json").write_text('{"eyes": 4}')
    four = scan(root)
    (root / "masks/classes.json").write_text('{"eyes": 5}')
    five = scan(root)
    assert all(found.rois == ("eyes",) for found in (with_folder, shared, four, five))
    shutil.rmtree(root / "masks")
    put(root / "d.png", seed=4)
    ids = {found.id for found in (first, with_folder, shared, four, five, scan(root))}
    assert len(ids) == 6


def test_unreadable_images_are_listed_with_their_cause(root):
    (root / "bad.png").write_text("hello")
    (root / "empty.jpg").touch()
    found = scan(root)
    assert len(found.images) == 3
    assert found.unreadable == (
        (
            "bad.png",
            f"{root / 'bad.png'}: not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)",
        ),
        ("empty.jpg", f"{root / 'empty.jpg'}: empty file (0 bytes)"),
    )


def test_folders_without_images_are_refused(root, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").touch()
    for path, masks, message in [
        (tmp_path / "gone", None, f"{tmp_path / 'gone'}: no such folder"),
        (root, tmp_path / "gone", f"{tmp_path / 'gone'}: no such mask folder"),
        (tmp_path / "none", None, f"{tmp_path / 'none'}: no images ({', '.join(EXTENSIONS)})"),
        (
            tmp_path / "bad",
            None,
            f"{tmp_path / 'bad'}: none of its 1 images can be read; "
            f"the first: {tmp_path / 'bad/x.png'}: empty file (0 bytes)",
        ),
    ]:
        with pytest.raises(InputError) as caught:
            scan(path, masks)
        assert str(caught.value) == message


def test_a_file_name_that_is_not_text_is_unreadable(root):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    try:
        (root / name).write_bytes((root / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert scan(root).unreadable == (("caf\\xe9.png", "its file name is not UTF-8; rename it"),)


def test_masks_inside_the_dataset_are_not_images(root):
    put(root / "regions/eyes/a.png", mask())
    found = scan(root, root / "regions")
    assert len(found.images) == 3
    assert found.rois == ("eyes",)


# --- regions --------------------------------------------------------------------------------------


def test_one_mask_per_image(root):
    put(root / "masks/eyes/a.png", mask(2))
    put(root / "masks/eyes/more/c.JPG", mask(4))
    put(root / "masks/hair/a.webp", mask())
    (root / "masks/readme.txt").touch()
    found = scan(root)
    assert found.rois == ("eyes", "hair")
    eyes = RoiSpec.parse("eyes")
    roi = resolve_roi(eyes, found.folders, image_of(found, "a.png"))
    assert (roi.name, roi.source, roi.note, roi.image) == ("eyes", "mask:eyes/a.png", "", "a.png")
    np.testing.assert_array_equal(roi.mask, mask(2) > 0)
    roi = resolve_roi(eyes, found.folders, image_of(found, "more/c.png"))
    assert roi.source == "mask:eyes/more/c.JPG"
    with pytest.raises(RoiError) as caught:
        resolve_roi(eyes, found.folders, image_of(found, "b.bmp"))
    assert str(caught.value) == (
        f"ROI 'eyes' of b.bmp: no mask {root / 'masks/eyes/b'}.png (or {', '.join(EXTENSIONS[1:])})"
    )


def test_label_maps(root):
    labels = np.zeros((6, 8), np.uint8)
    labels[0], labels[1] = 4, 13
    put(root / "masks/a.png", labels)
    put(root / "masks/more/c.png", labels)
    put(root / "masks/gone.png", labels)  # of an image that is not in the dataset
    put(root / "masks/hat/a.png", mask())
    (root / "masks/classes.json").write_text('{"hair": 13, "eyes": [5, 4]}')
    found = scan(root)
    assert found.rois == ("eyes", "hair", "hat")
    roi = resolve_roi(RoiSpec("eyes"), found.folders, image_of(found, "a.png"))
    assert roi.source == "labels:a.png#4,5"
    np.testing.assert_array_equal(roi.mask, labels == 4)
    roi = resolve_roi(RoiSpec("hair"), found.folders, image_of(found, "more/c.png"))
    assert roi.source == "labels:more/c.png#13"
    assert resolve_roi(RoiSpec("hat"), found.folders, image_of(found, "a.png")).source == "mask:hat/a.png"
    with pytest.raises(RoiError) as caught:
        resolve_roi(RoiSpec("hair"), found.folders, image_of(found, "b.bmp"))
    assert str(caught.value) == f"ROI 'hair' of b.bmp: no mask {root / 'masks/b'}.png (or bmp, tif, tiff)"
    for name in ("gone", "more", "a"):
        with pytest.raises(UnknownName):
            resolve_roi(RoiSpec(name), found.folders, image_of(found, "a.png"))


def test_one_mask_for_all_images(root):
    put(root / "masks/mouth.png", mask())
    put(root / "b.bmp", seed=2, shape=(12, 16, 3))
    found = scan(root)
    assert found.rois == ("mouth",)
    rois = [
        resolve_roi(RoiSpec("mouth"), found.folders, image_of(found, name))
        for name in ("a.png", "b.bmp", "more/c.png")
    ]
    assert [roi.note for roi in rois] == ["", "mask 8 x 6 resized to 16 x 12", ""]
    assert [roi.image for roi in rois] == ["a.png", "b.bmp", "more/c.png"]


def test_masks_elsewhere(root, tmp_path):
    put(tmp_path / "m/mouth.png", mask())
    put(root / "masks/eyes.png", mask())
    found = scan(root, tmp_path / "m")
    assert found.rois == ("mouth",)
    assert found.folders == Folders(root, tmp_path / "m")


def test_a_box_needs_no_masks(root):
    found = scan(root)
    roi = resolve_roi(RoiSpec.parse("mouth=box:0,0.5,1,1"), found.folders, image_of(found, "a.png"))
    assert (roi.name, roi.area, roi.source) == ("mouth", 0.5, "box:0,0.5,1,1")


def test_an_unknown_region_lists_those_there_are(root):
    image = ScannedImage("0" * 64, "a.png", 8, 6)
    for masks, have in [(None, f"{root} has no masks"), (root / "masks", f"{root / 'masks'} has eyes, hair")]:
        if masks is not None:
            put(masks / "hair/a.png", mask())
            put(masks / "eyes.png", mask())
        with pytest.raises(InputError) as caught:
            resolve_roi(RoiSpec("nose"), Folders.of(root), image)
        assert str(caught.value) == f"unknown ROI 'nose': {have}; or give a box: nose=box:x0,y0,x1,y1"


def test_mask_folders_that_make_no_sense(root):
    masks = root / "masks"
    put(masks / "a.png", mask())
    with pytest.raises(InputError) as caught:
        scan(root)
    assert str(caught.value) == (
        f"{masks / 'a.png'} is named like an image, so it is a label map, "
        f"but {masks / 'classes.json'} is missing: "
        'write one like {"hair": 13, "eyes": [4, 5]}'
    )
    shutil.rmtree(masks)
    (masks / "left eye").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        scan(root)
    assert str(caught.value) == (
        f"{masks / 'left eye'}: ROI name 'left eye': only letters, digits, _ and - are allowed"
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[1]", 'expected an object like {"hair": 13, "eyes": [4, 5]}'),
        ("{}", 'expected an object like {"hair": 13, "eyes": [4, 5]}'),
        ('{"hair": "13"}', "class 'hair' is \"13\", expected a number or a list of numbers"),
        ('{"hair": true}', "class 'hair' is true, expected a number or a list of numbers"),
        ('{"hair": []}', "class 'hair' is [], expected a number or a list of numbers"),
        ('{"hair": [1, -2]}', "class 'hair' is [1, -2], expected a number or a list of numbers"),
        ('{"../x": 1}', "ROI name '../x': only letters, digits, _ and - are allowed"),
        ("{", "cannot be read as JSON (Expecting property name enclosed in double quotes: "),
    ],
)
def test_bad_classes(root, text, cause):
    path = root / "masks/classes.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        scan(root)
    assert str(caught.value).startswith(f"{path}: {cause}")


# --- ROI on the command line ----------------------------------------------------------------------


def test_specs():
    assert RoiSpec.parse("mouth") == RoiSpec("mouth")
    assert RoiSpec.parse("mouth=box:0,0.1,0.5,1") == RoiSpec("mouth", (0, 0.1, 0.5, 1))
    for text, message in {
        "": "ROI name '': only letters, digits, _ and - are allowed",
        "a b": "ROI name 'a b': only letters, digits, _ and - are allowed",
        "../x=box:0,0,1,1": "ROI name '../x': only letters, digits, _ and - are allowed",
        "mouth=": "ROI 'mouth=': expected NAME or NAME=box:x0,y0,x1,y1",
        "mouth=0,0,1,1": "ROI 'mouth=0,0,1,1': expected NAME or NAME=box:x0,y0,x1,y1",
        "mouth=box:0,0,1": "box '0,0,1': expected four numbers x0,y0,x1,y1",
    }.items():
        with pytest.raises(InputError) as caught:
            RoiSpec.parse(text)
        assert str(caught.value) == message


@given(st.tuples(*[st.floats(0, 1)] * 4).filter(lambda box: box[0] < box[2] and box[1] < box[3]))
def test_a_spec_reads_back_from_its_text(box):
    spec = RoiSpec("left-eye_2", box)
    assert RoiSpec.parse(str(spec)) == spec
    assert RoiSpec.parse(str(RoiSpec("x"))) == RoiSpec("x")


# --- opening, and staying inside ------------------------------------------------------------------


def test_open_image(root):
    image = image_of(scan(root), "more/c.png")
    picture = open_image(root, image.name, image.id)
    assert (picture.id, picture.name) == (image.id, "more/c.png")
    put(root / "more/c.png", seed=9)
    with pytest.raises(ImageError) as caught:
        open_image(root, image.name, image.id)
    assert str(caught.value) == (
        f"{root / 'more/c.png'} changed since it was added; run `loco dataset add` again"
    )
    (root / "more/c.png").unlink()
    with pytest.raises(ImageError) as caught:
        open_image(root, image.name, image.id)
    assert str(caught.value) == f"{root / 'more/c.png'}: no such file"


@pytest.mark.parametrize("name", ["../out.png", "more/../../out.png", "more/../a.png", "/etc/hosts"])
def test_names_that_leave_the_folder_are_refused(root, name):
    put(root.parent / "out.png")
    with pytest.raises(ImageError) as caught:
        open_image(root, name, "0" * 64)
    assert str(caught.value) == f"{root / name}: leads out of {root}; copy the file into the folder"


def test_links_that_leave_the_folder_are_refused_and_others_followed(root):
    out = put(root.parent / "out.png")
    (root / "link.png").symlink_to(out)
    (root / "self.png").symlink_to(root / "self.png")
    (root / "twin.png").symlink_to(root / "a.png")
    found = scan(root)
    assert [image.name for image in found.images] == ["a.png", "twin.png", "b.bmp", "more/c.png"]
    causes = dict(found.unreadable)
    assert causes["link.png"] == f"{root / 'link.png'}: leads out of {root}; copy the file into the folder"
    assert causes["self.png"].startswith(f"{root / 'self.png'}: cannot be ")
    assert image_of(found, "twin.png").id == image_of(found, "a.png").id


def test_masks_that_leave_the_folder_are_refused(root):
    out = put(root.parent / "out.png", mask())
    (root / "masks/eyes").mkdir(parents=True)
    (root / "masks/eyes/a.png").symlink_to(out)
    image = ScannedImage("0" * 64, "a.png", 8, 6)
    with pytest.raises(RoiError) as caught:
        resolve_roi(RoiSpec("eyes"), Folders.of(root), image)
    assert str(caught.value) == (
        f"ROI 'eyes' of a.png: {root / 'masks/eyes/a.png'}: leads out of {root / 'masks'}; "
        "copy the file into the folder"
    )
    put(root / "masks/out.png", mask())
    with pytest.raises(RoiError, match="leads out of"):
        resolve_roi(RoiSpec("eyes"), Folders.of(root), replace(image, name="../out.png"))


def test_a_linked_mask_folder_must_be_named(root, tmp_path):
    put(tmp_path / "m/eyes.png", mask())
    (root / "masks").symlink_to(tmp_path / "m")
    with pytest.raises(InputError) as caught:
        scan(root)
    assert str(caught.value) == (
        f"{root / 'masks'} is a link out of the dataset; name it with --masks if it is meant"
    )
    assert scan(root, root / "masks").rois == ("eyes",)


def test_classes_are_read_as_json_numbers(root):
    (root / "masks").mkdir()
    (root / "masks/classes.json").write_text(json.dumps({"hair": [13, 13, 2]}))
    put(root / "masks/a.png", np.full((6, 8), 2, np.uint8))
    found = scan(root)
    roi = resolve_roi(RoiSpec("hair"), found.folders, image_of(found, "a.png"))
    assert roi.source == "labels:a.png#2,13"


@pytest.mark.parametrize("name", [b"a\\\xff.png", b"a\\b\n.png"])
def test_a_name_with_a_backslash_and_what_is_no_text_is_unreadable(tmp_path, name):
    put(tmp_path / "good.png")
    (tmp_path / os.fsdecode(name)).write_bytes((tmp_path / "good.png").read_bytes())
    found = scan(tmp_path)
    assert [one.name for one in found.images] == ["good.png"]
    [(shown, _)] = found.unreadable
    assert shown.encode().isascii()


def test_folders_of_the_system_among_masks_are_no_regions(tmp_path):
    put(tmp_path / "good.png")
    for folder in ("eye", "lost+found", "__MACOSX", "@eaDir"):
        put(tmp_path / "masks" / folder / "good.png", mask())
    assert scan(tmp_path).rois == ("eye",)
