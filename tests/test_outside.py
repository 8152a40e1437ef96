"""Files from outside: what is no regular file is refused at once, whichever door it comes to."""

import os
import socket
from pathlib import Path

import pytest

from loco import outside
from loco.dataset import scan
from loco.errors import ImageError, InputError, LocoError, ModelError, RoiError
from loco.evaluation.claims import read_bars
from loco.evaluation.protocol import read_protocol
from loco.folders import Folders
from loco.images import encode, read_image
from loco.marks.marking import key_of
from loco.marks.signing import Signer
from loco.models.layout import read_header, read_json
from loco.outside import printable
from loco.recipes import read_recipe
from loco.rois.layouts import RoiSpec, resolve_roi
from registry.home import Home
from registry.registry import Registry
from tests.flows.helpers import patch, picture, save


def listening(path):
    holder = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        holder.bind(path.name)
    finally:
        os.chdir(here)
        holder.close()


SPECIAL = {
    "pipe": os.mkfifo,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "circle": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_no_door_hangs_on_or_swallows_what_is_no_regular_file(tmp_path, kind):
    doors = {
        "image.png": read_image,
        "recipe.toml": read_recipe,
        "classes.json": lambda path: resolve_roi(
            RoiSpec("hair"), Folders(tmp_path, tmp_path), scan(save_good(tmp_path)).images[0]
        ),
        "config.json": lambda path: read_json(path, tmp_path, "a model"),
        "weights.safetensors": read_header,
        "import.zip": Registry(Home(tmp_path / "home")).import_,
        "protocol.toml": read_protocol,
        "claims.toml": read_bars,
        "key": lambda path: key_of(str(path)),
        "key.pem": lambda path: Signer(path, path).check(),
    }
    for name, door in doors.items():
        path = tmp_path / name
        SPECIAL[kind](path)
        with pytest.raises((ImageError, InputError, ModelError, RoiError, LocoError)):
            door(path)


def save_good(tmp_path):
    folder = tmp_path / "good"
    save(folder / "a.png", picture(1))
    return folder


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_dataset_with_one_is_added_without_it(tmp_path, kind):
    folder = save_good(tmp_path)
    SPECIAL[kind](folder / "x.png")
    found = scan(folder)
    assert [one.name for one in found.images] == ["a.png"]
    assert len(found.unreadable) == (kind != "folder")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_a_mask_that_is_one_costs_its_image_alone(tmp_path, kind):
    folder = save_good(tmp_path)
    save(folder / "b.png", picture(2))
    save(folder / "masks" / "patch" / "a.png", patch())
    SPECIAL[kind](folder / "masks" / "patch" / "b.png")
    found = scan(folder)
    regions = {}
    for one in found.images:
        try:
            regions[one.name] = resolve_roi(RoiSpec("patch"), found.folders, one).area
        except LocoError:
            regions[one.name] = None
    assert regions == {"a.png": 0.25, "b.png": None}


def test_no_more_is_read_than_the_limit(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="more than the 1073741824 that are read"):
        outside.read(path)
    assert outside.read(save(tmp_path / "a.png", picture(1))) == (tmp_path / "a.png").read_bytes()


def test_the_remedy_is_the_errors_own(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "circle").symlink_to("circle")
    told = {}
    for path in (tmp_path / "a" / "b", tmp_path / "circle", tmp_path / ("n" * 300)):
        with pytest.raises(ImageError) as caught:
            outside.read(path)
        told[path.name[:6]] = str(caught.value).partition("cannot be read ")[2]
    assert told == {
        "b": "(Not a directory: a part of the path is a file; move it away)",
        "circle": "(Too many levels of symbolic links: the link leads in a circle; remove it)",
        "nnnnnn": "(File name too long: shorten the name)",
    }


def test_texts_as_other_programs_write_them(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes('{"a": "ü"}\r\n'.encode(encoding))
        assert read_json(path, tmp_path, "a model") == {"a": "ü"}
    path.write_bytes(b'{"a": "\xfc"}')
    with pytest.raises(ModelError, match="not text in UTF-8 or UTF-16"):
        read_json(path, tmp_path, "a model")
    (tmp_path / "a.toml").write_bytes("t = 0.5 # ü\r\n".encode("utf-8-sig"))
    assert read_recipe(tmp_path / "a.toml") == {"t": 0.5}


def test_two_names_stay_two_when_they_are_made_printable():
    names = [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png"), "caf\\xe9.png", "caf\\\\xe9.png"]
    names += ["a\nb", "a\\nb", "a\u2028b", "a\\u2028b", "a b", "ü №7 \U0001f600", "a\u202fb", "\x7f"]
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    for name in shown:
        name.encode()
        assert "\n" not in name
    assert shown[0] == "caf\\xe9.png"
    assert [one for one in names if printable(one) == one][-3:] == ["a b", "ü №7 \U0001f600", "a\u202fb"]


def test_a_pixel_is_read_as_before(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(picture(1), "png"))
    assert (read_image(tmp_path / "a.png").pixels == picture(1)).all()
