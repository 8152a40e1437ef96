"""Masks as they are stored in the wild: all of them are one region, and what can be read in two ways is refused."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from loco.errors import ImageError, RoiAbsent, RoiError
from loco.images import read_image
from loco.rois.roi import Roi, from_box, from_label_map, from_mask_file

M = np.zeros((12, 16), np.bool_)
M[3:8, 4:11] = True
U = M * np.uint8(255)
SOFT = np.where(M, 200, 20).astype(np.uint8)
SOFT[0, :4] = [0, 127, 100, 60]
SOFT[5, 5:8] = [128, 255, 180]
NOT = ~M * np.uint8(255)


def palette(background, inside, index=M):
    image = Image.fromarray(index.astype(np.uint8), "L").convert("P")
    image.putpalette([*background, *inside, *[90] * 12])
    return image


def rgba(gray, alpha):
    return Image.fromarray(np.dstack([gray, gray, gray, alpha]).astype(np.uint8))


def soft_pixel(value):
    alpha = np.full(M.shape, 255)
    alpha[0, 0] = value
    return alpha


def in_red(values):
    return np.dstack([values, 0 * values, 0 * values])


def deep(values, scale):
    return Image.fromarray((values.astype(np.float64) / 255 * scale).round().astype(np.int32))


PHOTO = np.random.default_rng(1).integers(0, 256, M.shape, dtype=np.uint8)

STORED = {
    "1-bit": ("png", Image.fromarray(M)),
    "0 and 1": ("png", M * np.uint8(1)),
    "0 and 7": ("png", M * np.uint8(7)),
    "0 and 64": ("png", M * np.uint8(64)),
    "0 and 255": ("png", U),
    "soft": ("png", SOFT),
    "16 bits": ("png", SOFT.astype(np.uint16) * 257),
    "16 bits of 0 to 255": ("png", SOFT.astype(np.uint16)),
    "16 bits of 0 and 1": ("png", M.astype(np.uint16)),
    "16-bit TIFF": ("tif", SOFT.astype(np.uint16) * 257),
    "32-bit integers, 0 to 65535": ("tif", deep(SOFT, 65535)),
    "32-bit integers, 0 to 255": ("tif", deep(SOFT, 255)),
    "32-bit integers, all of the scale": ("tif", deep(SOFT, 2**31 - 1)),
    "floats to 1": ("tif", SOFT.astype(np.float32) / 255),
    "floats to 1 that overshoot": ("tif", 0.5 + 1.1 * (SOFT.astype(np.float32) / 255 - 0.5)),
    "floats to 255": ("tif", SOFT.astype(np.float32)),
    "floats 0 and 1": ("tif", M.astype(np.float32)),
    "red": ("png", in_red(U)),
    "red, 0 and 1": ("png", in_red(M * np.uint8(1))),
    "CMYK": ("tif", Image.fromarray(np.dstack([U, U, U])).convert("CMYK")),
    "CMYK JPEG": ("jpg", Image.fromarray(np.dstack([U, U, U])).convert("CMYK")),
    "JPEG": ("jpg", U),
    "WebP": ("webp", np.dstack([U, U, U])),
    "gray and opaque alpha": ("png", Image.fromarray(np.dstack([U, 0 * U + 255]), "LA")),
    "gray and alpha alike": ("png", Image.fromarray(np.dstack([U, U]), "LA")),
    "black on transparent": ("png", Image.fromarray(np.dstack([0 * U, SOFT]), "LA")),
    "white on transparent": ("png", rgba(0 * U + 255, SOFT)),
    "a photograph cut out": ("png", rgba(PHOTO, SOFT)),
    "alpha with a soft pixel": ("png", rgba(U, soft_pixel(250))),
    "alpha with a pixel just over half": ("png", rgba(U, soft_pixel(128))),
    "alpha that is 0 all over": ("png", rgba(U, 0 * U)),
    "palette": ("png", palette((0, 0, 0), (128, 0, 0))),
    "palette with a background that is not black": ("png", palette((68, 1, 84), (253, 231, 37))),
    "palette with a white background": ("png", palette((255, 255, 255), (0, 0, 0))),
    "palette with a black region": ("png", palette((9, 9, 9), (0, 0, 0))),
    "palette of three": ("png", palette((68, 1, 84), (253, 231, 37), M * 1 + (M & (PHOTO > 99)))),
    "palette BMP": ("bmp", palette((68, 1, 84), (253, 231, 37))),
    "palette TIFF": ("tif", palette((68, 1, 84), (253, 231, 37))),
}


@pytest.mark.parametrize("kind", STORED)
def test_a_mask_means_the_same_region_however_it_is_stored(tmp_path, kind):
    extension, image = STORED[kind]
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    path = tmp_path / f"m.{extension}"
    image.save(path, **({"quality": 90} if extension == "jpg" else {}))
    roi = from_mask_file(path, "eyes", M.shape, "1.png")
    np.testing.assert_array_equal(roi.mask, M)


@pytest.mark.parametrize("transparent", [0, b"\x00\xff"])
def test_a_transparent_background_agrees_with_its_palette(tmp_path, transparent):
    palette((68, 1, 84), (253, 231, 37)).save(tmp_path / "m.png", transparency=transparent)
    np.testing.assert_array_equal(from_mask_file(tmp_path / "m.png", "eyes", M.shape).mask, M)
    Image.fromarray(U).save(tmp_path / "m.png", transparency=0)
    np.testing.assert_array_equal(from_mask_file(tmp_path / "m.png", "eyes", M.shape).mask, M)


def interlaced(pixels):
    """A PNG of Adam7 passes (ISO 15948, 8.2), which Pillow reads and does not write."""
    import io
    import struct
    import zlib

    data = b""
    for y0, x0, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        data += b"".join(b"\0" + row.tobytes() for row in pixels[y0::dy, x0::dx] if len(row))
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, 2)
    header = struct.pack(">2I5B", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 1)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        PngImagePlugin.putchunk(out, kind, body)
    return out.getvalue()


def test_an_interlaced_mask_is_the_region(tmp_path):
    (tmp_path / "m.png").write_bytes(interlaced(SOFT))
    np.testing.assert_array_equal(from_mask_file(tmp_path / "m.png", "eyes", M.shape).mask, M)


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_mask_that_is_turned_as_its_image_is_upright_with_it(tmp_path, turn):
    from loco.images import encode, read_image

    pixels = np.dstack([U, U, U])
    path = tmp_path / "m.png"
    path.write_bytes(encode(pixels, "png", turn=turn))
    assert read_image(path).pixels.shape == (*M.shape, 3)
    np.testing.assert_array_equal(from_mask_file(path, "eyes", M.shape).mask, M)


# --- what is refused ------------------------------------------------------------------------------

INVERTED = "its alpha marks 81.8 % of the pixels and its values mark 18.2 %, others: save it with only one of the two"


@pytest.mark.parametrize(
    ("image", "extension", "cause"),
    [
        (rgba(U, NOT), "png", INVERTED),
        (rgba(U, soft_pixel(0)), "png", INVERTED.replace("81.8", "99.5")),
        (
            SOFT.astype(np.float32) / 100 - 1.2,
            "tif",
            "the mask has values from -1.2 to 1.35; expected 0 to 1, ",
        ),
        (np.where(M, np.nan, 0).astype(np.float32), "tif", "the mask has values that are NaN or infinite"),
        (np.where(M, np.inf, 0).astype(np.float32), "tif", "the mask has values that are NaN or infinite"),
        (np.where(M, -5, 7).astype(np.int32), "tif", "the mask has values from -5 to 7; expected 0 to 1, "),
    ],
    ids=["inverted alpha", "a hole in alpha", "logits", "NaN", "infinite", "negative"],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, image, extension, cause):
    path = tmp_path / f"m.{extension}"
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    with pytest.raises(RoiError) as caught:
        from_mask_file(path, "eyes", M.shape, "1.png")
    assert not isinstance(caught.value, RoiAbsent)
    assert str(caught.value).startswith(f"ROI 'eyes' of 1.png: {path}: {cause}")


@pytest.mark.parametrize("what", ["gray", "palette"])
def test_a_colour_key_that_contradicts_the_values_is_refused(tmp_path, what):
    image, key = (Image.fromarray(U), 255) if what == "gray" else (palette((0, 0, 0), (9, 9, 9)), 1)
    image.save(tmp_path / "m.png", transparency=key)
    with pytest.raises(RoiError, match=INVERTED):
        from_mask_file(tmp_path / "m.png", "eyes", M.shape)


@pytest.mark.parametrize(
    ("shape", "size", "fits"),
    [
        ((512, 512), (1024, 1024), True),
        ((333, 500), (1067, 1600), True),  # both are 2:3 rounded
        ((30, 40), (300, 400), True),
        ((30, 40), (31, 40), False),
        ((100, 100), (100, 150), False),
        ((32, 32), (32, 48), False),
    ],
)
def test_a_mask_has_the_aspect_ratio_of_its_image_or_is_refused(tmp_path, shape, size, fits):
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    if fits:
        assert from_mask_file(tmp_path / "m.png", "eyes", size).mask.shape == size
        return
    with pytest.raises(RoiError) as caught:
        from_mask_file(tmp_path / "m.png", "eyes", size, "1.png")
    assert str(caught.value) == (
        f"ROI 'eyes' of 1.png: mask:m.png of {shape[1]} x {shape[0]} does not fit the image of {size[1]} x {size[0]}: "
        "a mask has its image's aspect ratio; make it from this image"
    )


def test_a_mask_on_its_side_is_refused_and_exif_named(tmp_path):
    Image.fromarray(U).save(tmp_path / "m.png")
    with pytest.raises(RoiError) as caught:
        from_mask_file(tmp_path / "m.png", "eyes", (16, 12), "1.png")
    assert str(caught.value) == (
        "ROI 'eyes' of 1.png: mask:m.png of 16 x 12 lies on its side to the image of 12 x 16: "
        "likely one of the two has an EXIF turn that the other lacks; save both upright"
    )


# --- absent, and nearly everything ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (0 * U, "is empty at 16 x 12: no pixel of mask:m.png is inside"),
        (rgba(0 * U + 255, 0 * U), "is empty: no pixel of mask:m.png is inside (all of it is transparent)"),
        (
            U // 3 + 1,
            "is empty: no pixel of mask:m.png is inside (its greatest value is 86, and inside is from 127.5 on)",
        ),
    ],
    ids=["black", "transparent", "faint"],
)
def test_a_mask_of_nothing_is_absent_with_its_reason(tmp_path, image, cause):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(tmp_path / "m.png")
    with pytest.raises(RoiAbsent) as caught:
        from_mask_file(tmp_path / "m.png", "hair", M.shape, "1.png")
    assert str(caught.value) == f"ROI 'hair' of 1.png {cause}"


def test_noise_in_a_black_jpeg_is_no_region(tmp_path):
    noise = np.zeros((64, 64), np.uint8)
    noise[8:16, 8:16] = 1
    Image.fromarray(noise).save(tmp_path / "m.jpg", quality=100)
    assert np.unique(np.asarray(Image.open(tmp_path / "m.jpg"))).tolist() == [0, 1]
    with pytest.raises(RoiAbsent):
        from_mask_file(tmp_path / "m.jpg", "hair", (64, 64))


@pytest.mark.parametrize(("part", "warned"), [(0.85, False), (0.95, True), (1.0, True)])
def test_a_region_of_nearly_the_whole_image_is_warned_of(part, warned):
    roi = from_box("face", (0, 0, part, 1), (100, 100), "1.png").fit((20, 20))
    assert bool(roi.note) == warned
    if warned:
        assert roi.note == (
            f"ROI 'face' covers {100 * part:g} % of the image: next to nothing is outside of it; "
            "if it should not, look at its mask"
        )


def test_a_palette_with_a_white_background_and_a_black_region_is_noted(tmp_path):
    palette((255, 255, 255), (0, 0, 0)).save(tmp_path / "m.png")
    assert from_mask_file(tmp_path / "m.png", "eyes", M.shape).note == (
        "palette index 0, white here, is taken for outside"
    )


def test_a_region_that_vanishes_at_the_models_size_is_absent():
    mask = np.zeros((128, 128), np.bool_)
    mask[0, 0] = True
    with pytest.raises(RoiAbsent, match="fall between the model's"):
        Roi("eyes", mask, "test").fit((32, 32))


# --- label maps -----------------------------------------------------------------------------------


def test_class_numbers_that_classes_json_does_not_name_are_noted(tmp_path):
    labels = np.where(M, 4, 0).astype(np.uint8)
    labels[0, :3] = [9, 13, 17]
    Image.fromarray(labels).save(tmp_path / "l.png")
    roi = from_label_map(tmp_path / "l.png", "eyes", {"eyes": (4,), "hair": (13,)}, M.shape)
    np.testing.assert_array_equal(roi.mask, M)
    assert roi.note == "l.png has class numbers that classes.json does not name: 9, 17"


@pytest.mark.parametrize("bits", [2, 4])
def test_class_numbers_of_few_bits_are_what_they_are(tmp_path, bits):
    """Pillow stretches gray of 2 and 4 bits to 0 to 255: class 3 became 255 or 51."""
    import struct
    import zlib

    top = 2**bits - 1
    labels = np.where(M, top, 1).astype(np.uint8)
    per = 8 // bits
    packed = sum((labels[:, k::per] << (8 - bits * (k + 1))) for k in range(per)).astype(np.uint8)
    with (tmp_path / "l.png").open("wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">2I5B", 16, 12, bits, 0, 0, 0, 0)
        rows = b"".join(b"\0" + row.tobytes() for row in packed)
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            PngImagePlugin.putchunk(out, kind, body)
    roi = from_label_map(tmp_path / "l.png", "top", {"top": (top,), "one": (1,)}, M.shape)
    np.testing.assert_array_equal(roi.mask, M)
    assert roi.note == ""


def test_label_maps_in_jpeg_are_refused(tmp_path):
    Image.fromarray(U).save(tmp_path / "l.png", "JPEG")
    with pytest.raises(RoiError, match="is a JPEG, which does not keep class numbers; use PNG"):
        from_label_map(tmp_path / "l.png", "eyes", {"eyes": (255,)}, M.shape)


def test_a_palette_image_without_its_palette_is_damaged_wherever_it_is_read(tmp_path):
    path = tmp_path / "m.png"
    Image.fromarray(M.astype(np.uint8), "P").save(path)
    data = path.read_bytes()
    at = data.find(b"PLTE") - 4
    path.write_bytes(data[:at] + data[at + 12 + int.from_bytes(data[at : at + 4], "big") :])
    with pytest.raises(RoiError, match="its palette is missing"):
        from_mask_file(path, "eye", M.shape)
    with pytest.raises(ImageError, match="its palette is missing"):
        read_image(path)
