"""Pictures of directions: what a strip shows, that it is kept, and what stands in for what is not there."""

import base64
import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cli.blocks import half_blocks, kitty, speaks_kitty
from flows.pictures import drawing
from flows.pictures.edits import edited, responses, shown
from flows.pictures.response import picked, ranked
from flows.pictures.strength import TARGET, first_order_change, suited_strength
from flows.pictures.strips import file_of, kept, strip
from flows.register import model_for
from loco.ids import content_id
from registry.files import pictures
from registry.registry import Registry
from tests.flows.helpers import picture, save


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def tiles_of(data, count):
    whole = pixels(data)
    width = (whole.shape[1] - drawing.GAP * (count - 1)) // count
    return [whole[:, k * (width + drawing.GAP) : k * (width + drawing.GAP) + width] for k in range(count)]


def test_a_strip_is_five_strengths_the_change_and_the_direction(filled):
    direction = filled.find(limit=1)[0]
    made = strip(filled, direction)
    s = suited_strength(direction)
    assert made.strengths == (-2 * s, -s, 0.0, s, 2 * s)
    assert made.trouble == ""
    assert all(f"{one:+g}" in made.alt for one in made.strengths)
    tiles = tiles_of(made.data, 7)
    image = shown(filled, model_for(filled, direction), direction.image_id)
    change = edited(filled, image, [[(direction, s)]])[0]
    assert np.array_equal(tiles[3], drawing.tile(drawing.pixels_of(image.x + change)))
    mask = filled.basis(direction.basis_id).rois[0].mask
    assert np.array_equal(tiles[2], drawing.outlined(drawing.tile(drawing.pixels_of(image.x)), mask))
    assert (tiles[2] == drawing.MARK).all(axis=2).any()
    assert np.array_equal(tiles[5], drawing.tile(drawing.heat(change)))


def test_a_strip_is_the_same_pixels_as_loco_apply(loco, filled, tmp_path):
    direction = filled.find(limit=1)[0]
    s = suited_strength(direction)
    save(tmp_path / "small" / "one.png", picture(9)[: direction.shape[1], : direction.shape[2]])
    loco("dataset", "add", "small", tmp_path / "small")
    told = ("--dataset", "small", "--out", tmp_path / "out", "--steps", "10", "--beyond")
    loco("apply", "--direction", f"{direction.id}:{s}", *told)
    [output] = (tmp_path / "out").glob("one__*.png")
    tile = tiles_of(strip(filled, direction, filled.dataset("small").images[0].id).data, 7)[3]
    times = tile.shape[0] // direction.shape[1]
    assert np.abs(tile[::times, ::times].astype(int) - pixels(output.read_bytes())).max() <= 1


def test_what_was_drawn_is_not_drawn_again_and_damage_is(filled, no_network_after):
    direction = filled.find(limit=1)[0]
    assert kept(filled, direction) is None
    first = strip(filled, direction)
    file = file_of(filled, first)
    assert file.read_bytes() == first.data
    assert kept(filled, direction) == file
    with no_network_after():
        assert strip(filled, direction) == first
    file.write_bytes(first.data[:200] + b"\0" + first.data[201:])
    assert pictures.get(filled.home, first.key) is None
    assert strip(filled, direction) == first


@pytest.fixture
def no_network_after(monkeypatch):
    def begin():
        patched = pytest.MonkeyPatch.context()

        class Refusing:
            def __enter__(self):
                self.patch = patched.__enter__()
                self.patch.setattr("flows.device.models.open_fast", self.refuse)

            def refuse(self, *_):
                raise AssertionError("the network was opened")

            def __exit__(self, *error):
                patched.__exit__(*error)

        return Refusing()

    return begin


def test_without_image_or_model_region_and_direction_are_shown_with_the_cause(filled):
    direction = filled.find(limit=1)[0]
    filled.remove_dataset("photos")
    made = strip(filled, direction)
    assert made.strengths == ()
    assert made.trouble == (
        f"image {direction.image_id[:12]} is in no dataset; add its folder with `loco dataset add`"
    )
    assert len(tiles_of(made.data, 2)) == 2
    filled.remove_model("tiny")
    assert "which is not registered here" in strip(filled, direction).trouble


def test_the_strength_is_visible_and_within_the_linear_range(filled):
    for direction in filled.find():
        strength = suited_strength(direction)
        assert strength > 0
        assert first_order_change(direction, strength) <= TARGET * 1.06
        assert direction.linear_range is None or strength <= direction.linear_range * 1.06


def test_images_that_respond_most_middling_and_hardly(filled):
    direction = filled.find(limit=1)[0]
    found = ranked(filled, direction, filled.dataset("photos"))
    gains = [one.gain for one in found]
    assert len(found) == 6
    assert gains == sorted(gains, reverse=True)
    assert [one.gain for one in picked(found)] == [gains[0], gains[3], gains[-1]]
    model = model_for(filled, direction)
    one = responses(filled, [shown(filled, model, found[0].id)], [direction])[0, 0]
    assert np.linalg.norm(one) == pytest.approx(gains[0], rel=1e-4)


def test_pictures_make_room_for_themselves(home):
    for number in range(8):
        pictures.put(home, f"{number:032x}", drawing.png(np.zeros((4, 4, 3), np.uint8)))
        time.sleep(0.002)
    size = pictures.place(home, f"{0:032x}").stat().st_size
    pictures.clear(home, limit=6 * size)
    left = [number for number in range(8) if pictures.get(home, f"{number:032x}") is not None]
    assert left == [5, 6, 7]


def test_a_sheet_is_one_file_with_everything_in_it(loco, filled, tmp_path):
    hostile = "<script>alert(1)</script>"
    direction = filled.find(limit=1)[0]
    filled.label(direction.id, hostile)
    page, image = tmp_path / "s.html", tmp_path / "s.png"
    assert "directions" in loco("directions", "sheet", "--limit", "2", "--out", page).out
    text = page.read_text()
    assert text.count("<article>") == 2
    assert hostile not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    sources = re.findall(r'src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text)
    assert [base64.b64decode(data) for data, _ in sources] == [
        strip(filled, one).data for one in filled.find(limit=2)
    ]
    loco("directions", "sheet", "--roi", "patch", "--limit", "2", "--out", image)
    assert pixels(image.read_bytes()).shape[0] > 200
    outcome = loco("directions", "sheet", "--out", tmp_path / "s.pdf", code=2)
    assert "a sheet is written to a .html or .png, found .pdf" in outcome.err


def test_before_and_after_of_a_run(loco, filled, tmp_path):
    direction = filled.find(limit=1)[0]
    out = tmp_path / "out"
    told = ("--dataset", "photos", "--limit", "2", "--steps", "2", "--out", out)
    loco("apply", "--direction", f"{direction.id}:1", "--strength", "0", "--strength", "2", *told)
    run = filled.runs("apply")[0]
    page = tmp_path / "jobs.html"
    loco("jobs", "sheet", run.id[:8], "--out", page)
    text = page.read_text()
    assert text.count("<article>") == 2
    assert text.count("<span>input</span><span>+0</span><span>+2</span>") == 2
    next(iter(out.glob("0__*+2.png"))).write_bytes(b"another")
    loco("jobs", "sheet", run.id, "--out", page)
    assert "changed since it was written" in page.read_text()
    found = filled.runs("discover")[0]
    assert "only those of apply" in loco("jobs", "sheet", found.id, "--out", page, code=2).err


def test_show_names_the_file_where_there_is_one(loco, filled):
    direction = filled.find(limit=1)[0]
    assert "picture" not in loco("directions", "show", direction.id).out
    outcome = loco("directions", "show", direction.id, "--picture")
    file = kept(Registry(filled.home), direction)
    assert f"picture         {file}" in outcome.out
    assert loco("directions", "show", direction.id, "--json").json[0]["picture"] == str(file)


def test_terminals_get_half_blocks_or_kittys_protocol():
    data = drawing.png(np.full((4, 6, 3), 200, np.uint8))
    segments = half_blocks(data, 6).segments
    assert [one.text for one in segments].count("▀") == 12
    assert {str(one.style) for one in segments if one.text == "▀"} == {"#c8c8c8 on #c8c8c8"}
    long = drawing.png(np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8))
    parts = list(kitty(long))
    payload = "".join(part.partition(";")[2].removesuffix("\033\\") for part in parts)
    assert base64.b64decode(payload) == long
    assert [part[3:8] == "a=T,f" for part in parts] == [True] + [False] * (len(parts) - 1)
    assert speaks_kitty({"TERM": "xterm-kitty"})
    assert not speaks_kitty({"TERM": "xterm-kitty", "TMUX": "/tmp/x"})
    assert not speaks_kitty({"TERM": "xterm-256color"})


def test_a_direction_of_a_dataset_is_shown_on_the_image_that_responds_most(filled):
    one = filled.find(limit=1)[0]
    basis, key = filled.basis(one.basis_id), content_id("basis", "of all")
    told = {"basis_id": key, "image_id": content_id("images", "all"), "scope": "dataset", "images": 6}
    several = tuple(
        replace(each, id=content_id("direction", ["of all", each.index]), **told) for each in basis.directions
    )
    filled.add(replace(basis, id=key, image_id=told["image_id"], image_name="photos", directions=several))
    whole = filled.find(scope="dataset", limit=1)[0]
    made = strip(filled, whole)
    assert made.trouble == ""
    most = ranked(filled, whole, filled.dataset("photos"))[0]
    assert made.data == strip(filled, whole, most.id).data
    assert made.data != strip(filled, whole, ranked(filled, whole, filled.dataset("photos"))[-1].id).data
