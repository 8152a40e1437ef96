"""Files <-> arrays."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loco.errors import ImageError, InputError, RoiError
from loco.images import apply_change, centre_crop, encode, from_model, picture_of, read_image, to_model
from loco.rois.roi import from_mask_file


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    """A picture that survives JPEG: three gentle ramps."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) * 255 // (height + width)], 2).astype(
        np.uint8
    )


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def mode_of(path):
    with Image.open(path) as image:
        return image.mode


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG"])
def test_lossless_files_give_their_pixels_name_and_hash(tmp_path, name):
    pixels = noise(5, 7)
    path = save(tmp_path / name, pixels)
    picture = read_image(path)
    assert picture.pixels.dtype == np.uint8
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.id == hashlib.sha256(path.read_bytes()).hexdigest()
    assert picture.name == name
    assert read_image(path, "sub/x.png").name == "sub/x.png"


def test_webp_and_jpeg(tmp_path):
    pixels = smooth(24, 32)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.webp", pixels, lossless=True)).pixels, pixels)
    jpeg = read_image(save(tmp_path / "a.jpeg", pixels, quality=95)).pixels
    assert np.abs(jpeg.astype(int) - pixels).mean() < 4


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", UPRIGHT)
def test_exif_orientation_is_applied_once(tmp_path, turn, ending):
    stored = smooth(24, 48)
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(ending, {})
    path = save(tmp_path / f"a.{ending}", stored, exif=exif.tobytes() if ending != "tif" else exif, **options)
    expected = UPRIGHT[turn](stored).astype(int)
    pixels = read_image(path).pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (6 if ending == "jpg" else 0)


def test_palette_and_two_level_and_gray(tmp_path):
    flags = np.zeros((4, 6, 3), np.uint8)
    flags[:, :2], flags[:, 2:4] = (200, 10, 10), (10, 10, 200)
    path = tmp_path / "p.png"
    Image.fromarray(flags).quantize(4).save(path)
    assert mode_of(path) == "P"
    np.testing.assert_array_equal(read_image(path).pixels, flags)
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "l.png", gray)).pixels, np.stack([gray] * 3, 2))
    bits = np.array([[True, False], [False, True]])
    two = read_image(save(tmp_path / "1.png", bits)).pixels
    np.testing.assert_array_equal(two, np.stack([bits * 255] * 3, 2))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path, ending):
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    pixels = read_image(save(tmp_path / f"deep.{ending}", values)).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], values // 257)


def test_32_bit_pixels_are_refused_where_their_range_is_unknown(tmp_path):
    path = save(tmp_path / "f.tif", np.ones((2, 2), np.float32))
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert (
        str(caught.value) == f"{path}: floating-point pixels have no fixed range; save it with 8 or 16 bits"
    )
    path = save(tmp_path / "i.tif", np.full((2, 2), 70000, np.int32))
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: 32-bit pixels have no fixed range; save it with 8 or 16 bits"
    small = save(tmp_path / "j.tif", np.full((2, 2), 65535, np.int32))
    assert (read_image(small).pixels == 255).all()


def test_alpha_is_composited_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 255
    rgba[0, :, 3] = (0, 128, 255)
    pixels = read_image(save(tmp_path / "a.png", rgba)).pixels
    assert pixels.tolist() == [[[255, 255, 255], [255, 127, 127], [255, 0, 0]]]
    la = np.array([[[0, 0], [0, 255]]], np.uint8)
    assert read_image(save(tmp_path / "la.png", la)).pixels[0, :, 0].tolist() == [255, 0]


def test_transparent_palette_and_gray_are_composited_too(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png").pixels[0, :, 0].tolist() == [255, 9]
    Image.fromarray(np.array([[0, 9]], np.uint8)).save(tmp_path / "l.png", transparency=0)
    assert read_image(tmp_path / "l.png").pixels[0, :, 0].tolist() == [255, 9]


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "c.jpg", np.full((16, 16, 3), (255, 0, 0), np.uint8), mode="CMYK", quality=95)
    assert mode_of(path) == "CMYK"
    pixel = read_image(path).pixels[8, 8].astype(int)
    assert np.abs(pixel - (255, 0, 0)).max() < 12


def test_refused_files_say_what_is_wrong(tmp_path):
    text, empty, folder = tmp_path / "text.png", tmp_path / "empty.png", tmp_path / "folder.png"
    text.write_text("hello")
    empty.write_bytes(b"")
    folder.mkdir()
    ico = save(tmp_path / "ico.png", noise(16, 16), format="ICO")
    missing = tmp_path / "missing.png"
    for path, cause in {
        text: "not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)",
        ico: "not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)",
        empty: "empty file (0 bytes)",
        missing: "no such file",
        folder: "cannot be read (Is a directory)",
    }.items():
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert str(caught.value) == f"{path}: {cause}"


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "tif"])
def test_a_file_cut_short_is_never_half_an_image(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", noise(64, 64))
    data = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
            read_image(path)


def test_the_exact_message_of_a_truncated_file(tmp_path):
    path = save(tmp_path / "a.bmp", noise(64, 64))
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: truncated or damaged (image file is truncated (")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]), st.data())
def test_damaged_bytes_give_pixels_or_an_image_error(tmp_path_factory, kind, data):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(9, 11)).save(buffer, kind, **({} if kind == "BMP" else {"exif": exif}))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        # Mostly the head, where the structure is.
        place = data.draw(st.integers(0, min(len(damaged), 160) - 1) | st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(damaged)
    message = None
    try:
        assert read_image(path).pixels.ndim == 3
    except ImageError as error:
        message = str(error)
    assert message is None or message.startswith(f"{path}: ")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [12_000, 40_000])  # Pillow warns about the first, raises for the second
def test_decompression_bomb(tmp_path, side):
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: more than 100 megapixels, the most that is read"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_where_warnings_are_off(tmp_path):
    test_decompression_bomb(tmp_path, 12_000)


# --- metadata is not pixels -----------------------------------------------------------------------


def png_with(kind, body):
    """A PNG of noise with one more chunk behind its header, and its pixels."""
    data = encode(noise(9, 7), "png")
    crc = zlib.crc32(kind + body).to_bytes(4, "big")
    return data[:33] + len(body).to_bytes(4, "big") + kind + body + crc + data[33:]


LARGE = zlib.compress(bytes(8 * 2**20))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"k\0\0" + LARGE),
        (b"iTXt", b"k\0\1\0\0\0" + LARGE),
        (b"iCCP", b"k\0\0" + LARGE),
        (b"pHYs", b"x"),
        (b"gAMA", b"x"),
        (b"cHRM", b"x"),
    ],
)
def test_a_png_is_read_without_the_metadata_that_cannot_be_and_says_so(kind, body):
    found = picture_of(png_with(kind, body), "a.png", "a.png")
    assert np.array_equal(found.pixels, noise(9, 7))
    assert found.notes == (f"metadata that cannot be read was left out ({kind.decode()})",)
    assert found.profile is None


def test_a_bad_checksum_beside_the_pixels_is_none_of_theirs():
    data = bytearray(png_with(b"tEXt", b"k\0text"))
    data[33 + 8] ^= 1
    assert np.array_equal(picture_of(bytes(data), "a.png", "a.png").pixels, noise(9, 7))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_exif_that_is_none_costs_no_image(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise(9, 7)).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30)
    found = read_image(path)
    assert found.pixels.shape == (9, 7, 3)
    assert found.turn == 1
    assert any("cannot be read" in note for note in found.notes)


def test_a_profile_that_is_none_is_left_out(tmp_path):
    Image.fromarray(noise(9, 7)).save(tmp_path / "a.png", icc_profile=b"no profile" * 20)
    found = read_image(tmp_path / "a.png")
    assert (found.profile, found.notes) == (None, ("the colour profile is damaged and was left out",))


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 100, 200)]
    lossless = {"lossless": True} if ending == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    found = read_image(path)
    assert (found.pixels == 10).all()
    assert found.notes == ("of several frames the first was taken",)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_avif_and_heic_are_read_whatever_they_are_called(tmp_path, kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    flat = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.jpg", kind, quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - flat).max() < 12


def test_heic_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("loco.decoding._heif", lambda: False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r"HEIC is not read without pillow-heif; `pip install"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize(("format", "side"), [("webp", 16_384), ("jpg", 65_501), ("jpg", 65_536)])
def test_a_size_that_the_format_cannot_hold_is_that_images_failure(format, side):
    with pytest.raises(ImageError, match=f"{side} x 1 pixels are more than a {format} file can hold"):
        encode(np.zeros((1, side, 3), np.uint8), format)
    assert read_size(encode(np.zeros((1, side, 3), np.uint8), "png")) == (side, 1)


def read_size(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.size


# --- to the model and back ------------------------------------------------------------------------

SIDES = st.integers(1, 40)


def test_every_value_survives_the_way_to_the_model_and_back():
    pixels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, 2)
    x = to_model(pixels, (16, 16))
    assert x.dtype == np.float32
    assert x.shape == (3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    np.testing.assert_array_equal(from_model(x), pixels)


def test_centre_crop():
    assert centre_crop(10, 20, (32, 32)) == (0, 5, 10, 10)
    assert centre_crop(20, 10, (32, 32)) == (5, 0, 10, 10)
    assert centre_crop(7, 9, (7, 9)) == (0, 0, 7, 9)
    assert centre_crop(1000, 1, (1, 1000)) == (499, 0, 1, 1)
    with pytest.raises(InputError) as caught:
        centre_crop(4, 5, (0, 8))
    assert str(caught.value) == "sizes are at least 1 x 1, found 5 x 4 and 8 x 0"


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_crop_lies_in_the_image_and_spans_one_side_of_it(height, width, h, w):
    crop = centre_crop(height, width, (h, w))
    assert 0 <= crop.top <= crop.top + crop.height <= height
    assert 0 <= crop.left <= crop.left + crop.width <= width
    assert crop.height == height or crop.width == width
    assert crop.height >= 1
    assert crop.width >= 1


@settings(deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_to_model_has_its_shape_and_range_at_any_size(height, width, h, w):
    x = to_model(noise(height, width), (h, w))
    assert x.shape == (3, h, w)
    assert np.abs(x).max() <= 1


def test_a_flat_image_stays_flat_when_resized():
    pixels = np.full((50, 30, 3), (10, 200, 77), np.uint8)
    for size in [(16, 16), (64, 64), (100, 20)]:
        assert (from_model(to_model(pixels, size)) == (10, 200, 77)).all()


def test_from_model_rounds_half_to_even_and_clips():
    x = np.array([-3, -1, -0.9999, 0, 1 / 255, 1, 3], np.float32)  # 0 is 127.5
    assert from_model(np.broadcast_to(x, (3, 1, 7)))[0, :, 0].tolist() == [0, 0, 0, 128, 128, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_not_written_as_a_pixel(value):
    x = np.zeros((3, 2, 2), np.float32)
    x[0, 0, 0] = value
    for call in (from_model, lambda x: apply_change(noise(2, 2), x)):
        with pytest.raises(ImageError) as caught:
            call(x)
        assert str(caught.value) == "the model's image has 1 values of 12 that are NaN or infinite"


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError) as caught:
        to_model(np.zeros((3, 4, 4), np.uint8), (4, 4))
    assert str(caught.value) == "pixels are uint8 [H, W, 3], found uint8 [3, 4, 4]"
    with pytest.raises(InputError) as caught:
        from_model(np.zeros((4, 4, 3), np.float32))
    assert str(caught.value) == "a model's image is [3, h, w], found [4, 4, 3]"


# --- adding a change ------------------------------------------------------------------------------


@settings(deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_no_change_gives_back_the_input_at_any_size(height, width, h, w):
    pixels = noise(height, width)
    result = apply_change(pixels, np.zeros((3, h, w), np.float32))
    np.testing.assert_array_equal(result, pixels)
    assert result is not pixels


def test_a_change_of_the_same_size_is_added_without_resampling():
    pixels = noise(8, 8)
    change = np.zeros((3, 8, 8), np.float32)
    change[1, 2, 3] = 2.0
    result = apply_change(pixels, change)
    assert result[2, 3, 1] == 255
    result[2, 3, 1] = pixels[2, 3, 1]
    np.testing.assert_array_equal(result, pixels)


def test_a_change_is_added_inside_the_crop_only_and_stays_local():
    pixels = np.full((64, 128, 3), 100, np.uint8)
    change = np.zeros((3, 16, 16), np.float32)
    change[0, 4:8, 4:8] = 10 / 127.5
    result = apply_change(pixels, change)
    np.testing.assert_array_equal(result[:, :32], pixels[:, :32])
    np.testing.assert_array_equal(result[:, 96:], pixels[:, 96:])
    np.testing.assert_array_equal(result[:, :, 1:], pixels[:, :, 1:])
    assert result[24, 32 + 24, 0] == pytest.approx(110, abs=1)
    # Bicubic reaches two model pixels, that is 8 of these, beyond the change.
    assert (result[40:, :, 0] == 100).all()
    np.testing.assert_array_equal(apply_change(pixels, change), result)


def test_a_change_clips_and_leaves_its_inputs_alone():
    pixels = np.full((4, 4, 3), 250, np.uint8)
    change = np.full((3, 2, 2), 1.0, np.float32)
    assert (apply_change(pixels, change) == 255).all()
    assert (apply_change(pixels, -3 * change) == 0).all()
    assert (pixels == 250).all()


# --- encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_encoding_is_deterministic_and_reads_back(tmp_path, kind):
    pixels = smooth(33, 21)
    data = encode(pixels, kind)
    assert data == encode(pixels[::-1][::-1], kind)
    (tmp_path / f"a.{kind}").write_bytes(data)
    error = np.abs(read_image(tmp_path / f"a.{kind}").pixels.astype(int) - pixels).max()
    assert error <= (8 if kind == "jpg" else 0)


def test_unknown_format():
    with pytest.raises(InputError) as caught:
        encode(noise(2, 2), "gif")
    assert str(caught.value) == "format must be png, jpg or webp, found 'gif'"


def test_a_transparent_value_of_16_bits_is_seen_as_white_and_kept_as_alpha(tmp_path):
    values = np.array([[0, 4000], [257 * 9, 65535]], ">u2")

    def piece(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    parts = (
        (b"IHDR", (2).to_bytes(4, "big") * 2 + bytes([16, 0, 0, 0, 0])),
        (b"tRNS", (4000).to_bytes(2, "big")),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))),
        (b"IEND", b""),
    )
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(piece(*one) for one in parts))
    found = read_image(path)
    assert found.pixels[:, :, 0].tolist() == [[0, 255], [9, 255]]
    assert found.alpha.tolist() == [[255, 0], [255, 255]]
    assert found.bare[:, :, 0].tolist() == [[0, 16], [9, 255]]
    values[:] = [[0, 4000], [0, 0]]  # what it marks is what is transparent
    data = (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in values)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(piece(*one) for one in (*parts[:2], data, parts[3])))
    with pytest.raises(RoiError, match="its alpha marks"):
        from_mask_file(path, "eye", (2, 2))
