"""The layout of CelebAMask-HQ: parts, their unions, masks at half the image's size, parts that a face lacks."""

import numpy as np
import pytest
from PIL import Image

from loco.dataset import ScannedImage, scan
from loco.errors import RoiAbsent, RoiError, UnknownName
from loco.folders import Folders
from loco.rois.layouts import RoiSpec, resolve_roi


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Faces 7 and 2003 at 16 x 16, with parts at 8 x 8: left half l_eye, right half r_eye."""
    images, masks = tmp_path / "CelebA-HQ-img", tmp_path / "CelebAMask-HQ-mask-anno"
    for number in (7, 2003):
        save(images / f"{number}.jpg", np.full((16, 16, 3), number % 251, np.uint8))
    left = np.zeros((8, 8, 3), np.uint8)
    left[2:4, 1:3] = 255
    save(masks / "0" / "00007_l_eye.png", left)
    save(masks / "0" / "00007_r_eye.png", left[:, ::-1])
    save(masks / "0" / "00007_skin.png", np.full((8, 8, 3), 255, np.uint8))
    save(masks / "1" / "02003_l_eye.png", left)
    return Folders(images, masks)


def roi(folders, name, number):
    return resolve_roi(RoiSpec.parse(name), folders, ScannedImage("", f"{number}.jpg", 16, 16))


def test_a_part_at_the_images_size(folders):
    left = roi(folders, "l_eye", 7)
    assert (left.mask.shape, left.mask.sum(), left.source) == ((16, 16), 16, "mask:0/00007_l_eye.png")
    assert left.mask[4:8, 2:6].all()
    assert left.note == ""  # half the size is how they all are


def test_left_and_right_together(folders):
    both = roi(folders, "eyes", 7)
    assert np.array_equal(both.mask, roi(folders, "l_eye", 7).mask | roi(folders, "r_eye", 7).mask)


def test_of_a_pair_what_there_is_and_folders_of_two_thousand(folders):
    assert np.array_equal(roi(folders, "eyes", 2003).mask, roi(folders, "l_eye", 2003).mask)


def test_a_part_that_the_face_lacks_is_absent(folders):
    with pytest.raises(RoiAbsent) as caught:
        roi(folders, "hat", 7)
    assert (
        str(caught.value) == f"ROI 'hat' of 7.jpg: the face has none, no mask {folders.masks}/0/00007_hat.png"
    )


def test_a_face_without_any_mask_is_a_failure_and_not_absent(folders):
    with pytest.raises(RoiError) as caught:
        roi(folders, "hat", 8)
    assert not isinstance(caught.value, RoiAbsent)
    assert str(caught.value) == (
        f"ROI 'hat' of 8.jpg: no mask {folders.masks}/0/00008_hat.png, nor of any other part of this face"
    )


def test_an_empty_part_of_a_pair_leaves_the_other_and_both_empty_are_absent(folders):
    black = np.zeros((8, 8, 3), np.uint8)
    save(folders.masks / "0" / "00007_r_eye.png", black)
    assert np.array_equal(roi(folders, "eyes", 7).mask, roi(folders, "l_eye", 7).mask)
    save(folders.masks / "0" / "00007_l_eye.png", black)
    with pytest.raises(RoiAbsent):
        roi(folders, "eyes", 7)


def test_a_name_that_is_no_number(folders):
    with pytest.raises(RoiError, match="a number for a name"):
        roi(folders, "hair", "face")


def test_the_regions_that_it_offers(folders):
    found = scan(folders.root, folders.masks)
    assert {"l_eye", "eyes", "hair", "lips"} <= set(found.rois)
    with pytest.raises(UnknownName, match="unknown ROI 'tail'"):
        roi(folders, "tail", 7)
