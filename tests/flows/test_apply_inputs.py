"""What people have in their folders, and what comes out of it; nothing bad costs what is good beside it."""

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from flows.apply.stream import apply_chunk
from loco.images import read_image
from tests.flows.helpers import REPOSITORY, applied, counts, first, picture, save

UMLAUT = "ein schönes Bild №7.png"


def bomb(path, side=30_000):
    """A PNG that says it is 30,000 x 30,000."""

    def piece(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(b"")) + piece(b"IEND", b"")
    )


@pytest.fixture
def zoo(tmp_path):
    """A folder of everything that goes wrong, and three good images."""
    folder = tmp_path / "images"
    for name in ("good.png", UMLAUT, "sub folder/inner.jpg"):
        save(folder / name, picture(1, 20, 14))
    save(folder / "dot.png", picture(2, 1, 1))
    Image.fromarray(picture(3)).convert("CMYK").save(folder / "print.jpg")
    save(folder / "deep.png", picture(4)[:, :, 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(picture(5 + k)) for k in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "torn.png").write_bytes((folder / "good.png").read_bytes()[:300])
    (folder / "text.png").write_text("I am a text")
    (folder / "empty.webp").write_bytes(b"")
    bomb(folder / "bomb.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "notes.txt").write_text("no image, and not called one")
    return folder


GOOD = ("moving.gif", "deep.png", "dot.png", UMLAUT, "good.png", "print.jpg", "sub folder/inner.jpg")
BAD = {
    "bomb.png": "more than 100 megapixels, the most that is read",
    "empty.webp": "empty file (0 bytes)",
    "gone.png": "no such file",
    "pipe.png": "not a regular file",
    "text.png": "not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)",
    "torn.png": "truncated or damaged (",
}


def by_image(out):
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["image_name"]: line for line in lines}


def test_everything_in_one_folder(home, filled, zoo, tmp_path, loco):
    out, direction = tmp_path / "out", first(home).id
    ask = ("apply", "--direction", f"{direction}:2", "--images", zoo, "--out", out, "--steps", 2)
    outcome = loco("--json", *ask, code=3)
    assert outcome.json[-1]["counts"]["done"] == len(GOOD)
    assert outcome.json[-1]["counts"]["failed"] == len(BAD)
    lines = by_image(out)
    assert set(lines) == {*GOOD, *BAD}
    for name, cause in BAD.items():
        line = lines[name]
        assert line["status"] == "failed"
        assert line["cause"].startswith(f"{zoo / name}: {cause}"), line["cause"]
        assert not (out / line["output"]).exists()
        assert f"failed: {name} -> {line['output']}: {line['cause']}" in outcome.err
    for name in GOOD:
        assert lines[name]["status"] == "done"
        assert read_image(out / lines[name]["output"]).pixels.shape == read_image(zoo / name).pixels.shape
    assert lines["deep.png"]["notes"] == ["16 bits a channel became 8"]
    assert lines["moving.gif"]["notes"] == ["of several frames the first was taken"]
    assert lines["print.jpg"]["notes"] == ["CMYK became RGB"]
    assert lines[UMLAUT]["output"].startswith("ein schönes Bild №7__")
    assert filled.verify() == []
    again = loco("--json", *ask, code=3)
    assert again.json[-1]["counts"]["skipped"] == len(GOOD)


def test_a_file_that_may_not_be_read(home, filled, tmp_path):
    """By a user who is not root, whatever user the tests run as."""
    folder, out = tmp_path / "images", tmp_path / "out"
    for name in ("mine.png", "secret.png"):
        save(folder / name, picture(1))
    (folder / "secret.png").chmod(0)
    script = (
        "import os, sys\n"
        "from flows.inputs.sources import Fetcher, list_sources\n"
        "from loco.errors import ImageError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "for source in list_sources(sys.argv[1]):\n"
        "    try: print(source.name, len(Fetcher().read(source)) > 0)\n"
        "    except ImageError as error: print(source.name, error)\n"
    )
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and place != place.parent:
            place.chmod(place.stat().st_mode | 0o055)
        if place.name.startswith("pytest-of-"):
            break
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    said = ["mine.png True", f"secret.png {folder / 'secret.png'}: cannot be read (Permission denied)"]
    assert done.stdout.splitlines() == said
    assert not out.exists()


def rgba(seed):
    return np.dstack([picture(seed), picture(seed + 1)[:, :, 0]])


def test_transparency_profile_orientation_and_exif_are_kept(home, filled, tmp_path):
    folder, profile = tmp_path / "images", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    folder.mkdir()
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        exif[0x010E] = "where I live"
        Image.fromarray(rgba(turn)[:, :9]).save(folder / f"turn{turn}.png", icc_profile=profile, exif=exif)
    for format in ("png", "webp"):
        out = tmp_path / format
        run = applied(home, out, images=folder, strengths=(0.0, 2.0), format=format)
        assert counts(run) == (16, 16, 0, 0)
        for turn in range(1, 9):
            for strength in ("+0", "+2"):
                [path] = out.glob(f"turn{turn}__*__{strength}.{format}")
                with Image.open(path) as made, Image.open(folder / f"turn{turn}.png") as source:
                    assert made.mode == "RGBA"
                    assert made.info["icc_profile"] == profile
                    assert made.getexif().get(0x0112, 1) == turn
                    assert made.getexif()[0x010E] == "where I live"
                    a, b = np.array(made), np.array(source)
                assert np.array_equal(a[:, :, 3], b[:, :, 3])
                assert np.array_equal(a, b) == (strength == "+0")


def test_jpg_has_no_transparency_and_says_so(home, filled, tmp_path):
    save(tmp_path / "images" / "a.png", rgba(1))
    out = tmp_path / "out"
    applied(home, out, images=tmp_path / "images", strengths=(0.0,), format="jpg")
    assert by_image(out)["a.png"]["notes"] == ["jpg has no transparency: white shows through"]


def test_a_large_image_keeps_its_size_and_what_the_model_does_not_see(home, filled, tmp_path):
    """Decoded twice, because it is not held; outside the centre crop nothing changes."""
    folder, out = tmp_path / "images", tmp_path / "out"
    large = np.tile(picture(1, 90, 60), (16, 24, 1))
    save(folder / "large.png", large)
    applied(home, out, images=folder, strengths=(2.0,))
    [path] = out.glob("large__*")
    made = read_image(path).pixels
    assert made.shape == large.shape == (960, 2160, 3)
    changed = (made != large).any(axis=2)
    assert changed[:, 600:1560].any()
    assert not changed[:, :600].any()
    assert not changed[:, 1560:].any()


def test_a_reader_that_breaks_is_a_bug_and_no_outcome(home, filled, tmp_path, monkeypatch):
    save(tmp_path / "images" / "a.png", picture(1))

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("flows.apply.reading.to_model", broken)
    with pytest.raises(ZeroDivisionError):
        applied(home, tmp_path / "out", images=tmp_path / "images", work=apply_chunk)
    assert [run.status for run in filled.runs("apply")] == ["failed"]
