"""Regions: boxes, mask files, label maps, and their way to the model's size."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from loco.errors import InputError, RoiError
from loco.images import to_model
from loco.rois.roi import Roi, from_box, from_label_map, from_mask_file, nearest, parse_box

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24)).filter(
    lambda mask: mask.any() and not mask.all()
)
sides = st.integers(1, 40)


def square(size=8, name="eyes"):
    mask = np.zeros((size, size), np.bool_)
    mask[2:4, 3:6] = True
    return Roi(name, mask, "test")


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


# --- the region itself ----------------------------------------------------------------------------


def test_id_is_of_name_and_mask_only():
    roi = square()
    assert Roi("eyes", roi.mask, "elsewhere", note="resized", image="7.png").id == roi.id
    assert len(roi.id) == 32
    assert square(name="mouth").id != roi.id
    assert square(9).id != roi.id
    assert (~roi).id != roi.id
    flat = np.ones((2, 8), np.bool_)
    assert Roi("eyes", flat, "").id != Roi("eyes", flat.reshape(8, 2), "").id
    assert roi == square()
    assert len({roi, square(), ~roi}) == 2


def test_the_mask_is_a_copy_that_cannot_be_written():
    mask = np.ones((2, 2), np.bool_)
    roi = Roi("all", mask, "test")
    mask[:] = False
    assert roi.area == 1
    with pytest.raises(ValueError, match="read-only"):
        roi.mask[0, 0] = False


def test_area():
    assert square().area == 6 / 64


@pytest.mark.parametrize("name", ["", "left eye", "a/b", "..", "mouth\n", "œil", "not eyes!"])
def test_names_are_plain(name):
    with pytest.raises(InputError) as caught:
        square(name=name)
    assert (
        str(caught.value)
        == f"ROI name '{name.removeprefix('not ')}': only letters, digits, _ and - are allowed"
    )


def test_wrong_masks_and_sizes_are_refused():
    with pytest.raises(InputError) as caught:
        Roi("eyes", np.ones((2, 2), np.uint8), "test")
    assert str(caught.value) == "a mask is bool [H, W], found uint8 [2, 2]"
    with pytest.raises(InputError) as caught:
        square().at(0, 4)
    assert str(caught.value) == "a mask is at least 1 x 1, asked for 4 x 0"


def test_empty_masks_are_refused():
    with pytest.raises(RoiError) as caught:
        Roi("eyes", np.zeros((4, 6), np.bool_), "mask:eyes/1.png", image="1.png")
    assert str(caught.value) == "ROI 'eyes' of 1.png is empty at 6 x 4: no pixel of mask:eyes/1.png is inside"
    with pytest.raises(RoiError) as caught:
        ~Roi("all", np.ones((4, 6), np.bool_), "box:0,0,1,1")
    assert str(caught.value) == "ROI 'not all' is empty at 6 x 4: no pixel of box:0,0,1,1 is inside"


def test_a_region_too_small_for_the_model_says_so():
    mask = np.zeros((128, 128), np.bool_)
    mask[0, 0] = True
    roi = Roi("eyes", mask, "test", image="1.png")
    with pytest.raises(RoiError) as caught:
        roi.fit((32, 32))
    assert str(caught.value) == (
        "ROI 'eyes' of 1.png is empty at 32 x 32: its 1 pixels at 128 x 128 fall between the model's; "
        "mark a larger region or use a larger model"
    )


def test_a_region_outside_the_crop_says_so():
    mask = np.zeros((10, 30), np.bool_)
    mask[:, :5] = True
    with pytest.raises(RoiError) as caught:
        Roi("edge", mask, "test", image="1.png").fit((32, 32))
    assert str(caught.value) == (
        "ROI 'edge' of 1.png is empty at 32 x 32: it lies outside the centre crop that the model sees"
    )


# --- complement and sizes -------------------------------------------------------------------------


@given(masks)
def test_a_region_and_its_complement_are_a_partition(mask):
    roi = Roi("eyes", mask, "test")
    rest = ~roi
    assert rest.name == "not eyes"
    assert not (roi.mask & rest.mask).any()
    assert (roi.mask | rest.mask).all()
    assert ~rest == roi
    assert roi.area + rest.area == pytest.approx(1)


@given(masks, sides, sides)
def test_the_partition_holds_at_any_size(mask, h, w):
    small = nearest(mask, h, w)
    assume(small.any() and not small.all())
    roi = Roi("eyes", mask, "test")
    np.testing.assert_array_equal((~roi).at(h, w).mask, ~roi.at(h, w).mask)


@given(masks, st.integers(1, 5))
def test_enlarging_by_a_whole_factor_keeps_the_area_and_comes_back(mask, factor):
    roi = Roi("eyes", mask, "test")
    large = roi.at(mask.shape[0] * factor, mask.shape[1] * factor)
    assert large.area == roi.area
    assert large.at(*mask.shape) == roi


@given(st.integers(20, 200), st.integers(8, 64), st.data())
def test_a_box_keeps_its_area_to_a_pixel_at_each_edge(side, size, data):
    left = data.draw(st.integers(0, side - 10))
    right = data.draw(st.integers(left + 8, side))
    mask = np.zeros((side, side), np.bool_)
    mask[:, left:right] = True
    assume(nearest(mask, size, size).any())
    assert abs(Roi("box", mask, "test").at(size, size).area - (right - left) / side) <= 1 / size


def test_fit_shows_the_pixels_that_to_model_shows():
    mask = np.zeros((40, 100), np.bool_)
    mask[10:30, 44:64] = True  # even, so that halving has no ties
    pixels = np.repeat((mask * np.uint8(255))[:, :, None], 3, axis=2)
    for size in [(40, 100), (40, 40), (20, 20), (80, 80), (16, 64)]:
        seen = to_model(pixels, size)[0] > 0
        fitted = Roi("eyes", mask, "test").fit(size).mask
        assert fitted.shape == size
        assert np.mean(seen != fitted) < 0.03
    assert Roi("eyes", mask, "test").fit((40, 100)).mask.tobytes() == mask.tobytes()


# --- boxes ----------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_reads_back(values):
    x0, x1, y0, y1 = sorted(values[:2]) + sorted(values[2:])
    assume(x0 < x1 and y0 < y1)
    assert parse_box(f"{x0!r},{y0!r},{x1!r},{y1!r}") == (x0, y0, x1, y1)


@given(st.text("0123456789.,-+einfa ", max_size=20))
def test_any_text_is_a_box_or_an_input_error(text):
    message, box = "", (0.0, 0.0, 1.0, 1.0)
    try:
        box = parse_box(text)
    except InputError as error:
        message = str(error)
    assert message == "" or message.startswith(f"box '{text}': ")
    assert 0 <= box[0] < box[2] <= 1
    assert 0 <= box[1] < box[3] <= 1


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "expected four numbers x0,y0,x1,y1"),
        ("0,0,1", "expected four numbers x0,y0,x1,y1"),
        ("0,0,1,1,1", "expected four numbers x0,y0,x1,y1"),
        ("0,0,one,1", "expected four numbers x0,y0,x1,y1"),
        ("0,0,1.5,1", "each of x0,y0,x1,y1 is a fraction in [0, 1]"),
        ("-0.1,0,1,1", "each of x0,y0,x1,y1 is a fraction in [0, 1]"),
        ("nan,0,1,1", "each of x0,y0,x1,y1 is a fraction in [0, 1]"),
        ("0.5,0,0.5,1", "expected x0 < x1 and y0 < y1"),
        ("0,0.9,1,0.1", "expected x0 < x1 and y0 < y1"),
    ],
)
def test_bad_boxes(text, cause):
    with pytest.raises(InputError) as caught:
        parse_box(text)
    assert str(caught.value) == f"box '{text}': {cause}"


def test_from_box():
    roi = from_box("mouth", (0.25, 0.5, 0.75, 1), (8, 16), "1.png")
    assert np.argwhere(roi.mask).min(axis=0).tolist() == [4, 4]
    assert np.argwhere(roi.mask).max(axis=0).tolist() == [7, 11]
    assert roi.area == 0.25
    assert (roi.source, roi.note, roi.image) == ("box:0.25,0.5,0.75,1", "", "1.png")
    with pytest.raises(RoiError) as caught:
        from_box("mouth", (0, 0, 0.01, 1), (8, 16), "1.png")
    assert (
        str(caught.value) == "ROI 'mouth' of 1.png is empty at 16 x 8: no pixel of box:0,0,0.01,1 is inside"
    )


def test_neighbouring_boxes_share_no_pixel():
    left, right = (from_box("a", box, (7, 9)) for box in [(0, 0, 0.37, 1), (0.37, 0, 1, 1)])
    np.testing.assert_array_equal(left.mask, ~right.mask)


# --- mask files -----------------------------------------------------------------------------------

SHAPE = np.array([[0, 1, 1, 0], [0, 0, 1, 0]], np.bool_)


def gray_alpha(gray, alpha):
    return np.stack([gray.astype(np.uint8), alpha.astype(np.uint8)], 2)


def coloured(colour):
    return (SHAPE[:, :, None] * np.array(colour)).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        SHAPE,
        SHAPE * np.uint8(255),
        SHAPE * np.uint8(128) + ~SHAPE * np.uint8(127),
        SHAPE * np.uint8(1),
        SHAPE * np.uint16(7),
        coloured((255, 0, 0)),
        coloured((10, 200, 30)),
        gray_alpha(SHAPE * 0, SHAPE * 200),
        gray_alpha(SHAPE * 255, SHAPE * 0 + 255),
        np.concatenate([coloured((9, 9, 9)), SHAPE[:, :, None] * np.uint8(255)], 2),
    ],
    ids=["1-bit", "gray", "threshold", "zero-one", "16-bit", "red", "green", "alpha", "opaque-alpha", "rgba"],
)
def test_masks_of_every_kind(tmp_path, pixels):
    path = save(tmp_path / "m.png", pixels)
    roi = from_mask_file(path, "eyes", SHAPE.shape, "1.png")
    np.testing.assert_array_equal(roi.mask, SHAPE)
    assert (roi.name, roi.source, roi.note, roi.image) == ("eyes", "mask:m.png", "", "1.png")


def test_palette_masks_take_any_colour_but_black(tmp_path):
    image = Image.fromarray(SHAPE * np.uint8(1), "L").convert("P")
    image.putpalette([0, 0, 0, 64, 0, 0])
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(from_mask_file(tmp_path / "m.png", "eyes", SHAPE.shape).mask, SHAPE)


def test_jpeg_masks_are_thresholded(tmp_path):
    mask = np.zeros((32, 32), np.bool_)
    mask[8:24, 5:17] = True
    path = save(tmp_path / "m.jpg", mask * np.uint8(255), quality=90)
    np.testing.assert_array_equal(from_mask_file(path, "eyes", mask.shape).mask, mask)


def test_a_mask_of_another_size_is_resized_with_a_note(tmp_path):
    path = save(tmp_path / "m.png", SHAPE * np.uint8(255))
    roi = from_mask_file(path, "eyes", (6, 12), source="mask:eyes/1.png")
    np.testing.assert_array_equal(roi.mask, SHAPE.repeat(3, 0).repeat(3, 1))
    assert roi.note == "mask 4 x 2 resized to 12 x 6"
    assert roi.source == "mask:eyes/1.png"


def test_bad_mask_files(tmp_path):
    missing, text = tmp_path / "none.png", tmp_path / "text.png"
    text.write_text("hello")
    black = save(tmp_path / "black.png", np.zeros((2, 4), np.uint8))
    for path, message in {
        missing: f"ROI 'eyes' of 1.png: {missing}: no such file",
        text: f"ROI 'eyes' of 1.png: {text}: not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)",
        black: "ROI 'eyes' of 1.png is empty at 4 x 2: no pixel of mask:black.png is inside",
    }.items():
        with pytest.raises(RoiError) as caught:
            from_mask_file(path, "eyes", (2, 4), "1.png")
        assert str(caught.value) == message


# --- label maps -----------------------------------------------------------------------------------

LABELS = np.array([[0, 4, 4, 0], [13, 13, 5, 0]], np.uint8)
CLASSES = {"hair": (13,), "eyes": (4, 5), "hat": (18,)}


@pytest.mark.parametrize("kind", ["L", "P", "I;16"])
def test_label_maps(tmp_path, kind):
    path = tmp_path / "l.png"
    if kind == "P":
        image = Image.fromarray(LABELS).convert("P")
        image.putpalette([255, 0, 0] * 256)  # the colours mean nothing
        image.save(path)
    else:
        save(path, LABELS.astype(np.uint16) if kind == "I;16" else LABELS)
    roi = from_label_map(path, "eyes", CLASSES, LABELS.shape, "1.png")
    np.testing.assert_array_equal(roi.mask, (LABELS == 4) | (LABELS == 5))
    assert roi.source == "labels:l.png#4,5"
    assert from_label_map(path, "hair", CLASSES, LABELS.shape).mask.sum() == 2
    assert from_label_map(path, "hair", CLASSES, (4, 8)).note == "mask 4 x 2 resized to 8 x 4"


def test_large_class_numbers(tmp_path):
    path = save(tmp_path / "l.png", np.array([[0, 60000]], np.uint16))
    assert from_label_map(path, "thing", {"thing": (60000,)}, (1, 2)).mask.tolist() == [[False, True]]


def test_bad_label_maps(tmp_path):
    path = save(tmp_path / "l.png", LABELS)
    with pytest.raises(InputError) as bad:
        from_label_map(path, "nose", CLASSES, LABELS.shape)
    assert str(bad.value) == "unknown ROI 'nose': the label maps have eyes, hair, hat"
    with pytest.raises(RoiError) as caught:
        from_label_map(path, "hat", CLASSES, LABELS.shape, "1.png")
    assert str(caught.value) == "ROI 'hat' of 1.png is empty at 4 x 2: no pixel of labels:l.png#18 is inside"
    path = save(tmp_path / "rgb.png", coloured((1, 2, 3)))
    with pytest.raises(RoiError) as caught:
        from_label_map(path, "eyes", CLASSES, LABELS.shape, "1.png")
    assert str(caught.value) == (
        f"ROI 'eyes' of 1.png: {path} is no label map (expected one channel of whole numbers, found mode RGB)"
    )


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, (5, 6), elements=st.integers(0, 3)))
def test_the_classes_of_a_label_map_are_a_partition(tmp_path_factory, labels):
    path = save(tmp_path_factory.getbasetemp() / "partition.png", labels)
    total = np.zeros(labels.shape, int)
    for number in np.unique(labels):
        total += from_label_map(path, "part", {"part": (int(number),)}, labels.shape).mask
    assert (total == 1).all()
