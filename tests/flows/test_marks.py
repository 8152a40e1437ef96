"""Bulk application marks what it edited: as asked, the same bytes each time, and copies as nothing."""

import json

import numpy as np
import pytest

from loco.errors import InputError
from loco.ids import file_id
from loco.images import read_image
from loco.marks.claim import Marks
from loco.marks.marking import new_key
from loco.marks.reading import said_of
from registry.registry import Registry
from tests.flows.helpers import applied, first, picture, save
from tests.marks.certificates import issued


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    save(folder / "a.png", np.kron(picture(10), np.ones((24, 24, 1), np.uint8)))
    save(folder / "b.jpg", picture(11, 20, 9))
    return folder


def said(home, path, key=None):
    known = Registry(home).known_edits
    return said_of(path, key, None, lambda edit: known([edit]).get(edit))


def lines(out):
    return {
        line["output"]: line for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())
    }


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_an_edit_says_what_it_is_and_the_home_knows_it(home, filled, images, tmp_path, format):
    out = tmp_path / "out"
    run = applied(home, out, images=images, strengths=(2.0,), format=format)
    assert run.counts["done"] == 2
    for name, line in lines(out).items():
        found = said(home, out / name)
        assert (found.claim.edit_id, found.claim.source) == (line["id"], line["image_id"])
        assert (found.claim.directions, found.claim.strengths) == ((first(home).id,), (2.0,))
        assert (found.here, found.run, found.contradictions) == ("as written", run.id, [])
        assert (found.claim.run, found.claim.name, found.claim.prompt) == ("", "", "")
        assert line["marks"] == ["claim"]
        assert b"images" not in (out / name).read_bytes()


def test_strength_0_and_images_without_effect_are_copies_and_say_nothing(home, filled, images, tmp_path):
    applied(home, tmp_path / "zero", images=images, strengths=(0.0,))
    applied(home, tmp_path / "none", images=images, strengths=(2.0,), min_effect=0.999)
    copies = [*(tmp_path / "zero").glob("*__*"), *(tmp_path / "none").glob("*__*")]
    statuses = {line["status"] for out in ("zero", "none") for line in lines(tmp_path / out).values()}
    for path in copies:
        edited = lines(path.parent)[path.name]["status"] == "done" and "+0" not in path.name
        assert (said(home, path).claim is not None) == edited
    assert "no_effect" in statuses
    assert sum(1 for path in copies if said(home, path).claim is None) >= 3


def test_the_same_edit_has_the_same_bytes_whatever_run_made_it(home, filled, images, tmp_path):
    for out in ("one", "two"):
        applied(home, tmp_path / out, images=images, strengths=(2.0,))
    one, two = ({p.name: file_id(p) for p in (tmp_path / out).glob("*__*")} for out in ("one", "two"))
    assert one == two


def test_no_more_and_no_less_than_was_asked_for(home, filled, images, tmp_path):
    applied(home, tmp_path / "bare", images=images, strengths=(2.0,), marks=Marks(claim=False))
    assert all(said(home, path).claim is None for path in (tmp_path / "bare").glob("*__*"))
    assert all(line["marks"] == [] for line in lines(tmp_path / "bare").values())

    run = applied(home, tmp_path / "more", images=images, strengths=(2.0,), marks=Marks(also=("run", "name")))
    claims = [said(home, path).claim for path in sorted((tmp_path / "more").glob("*__*"))]
    assert [(one.run, one.name) for one in claims] == [(run.id, "a.png"), (run.id, "b.jpg")]


def test_a_watermark_is_in_the_pixels_of_what_is_large_enough(home, filled, images, tmp_path):
    key = tmp_path / "key"
    new_key(key)
    applied(home, tmp_path / "plain", images=images, strengths=(2.0,))
    applied(home, tmp_path / "out", images=images, strengths=(2.0,), marks=Marks(watermark=str(key)))
    [large] = (tmp_path / "out").glob("a__*")
    [small] = (tmp_path / "out").glob("b__*")
    found = said(home, large, key.read_bytes())
    assert found.watermark.present
    assert found.edit_id.startswith(found.watermark.payload)
    change = read_image(large).pixels.astype(float) - read_image(tmp_path / "plain" / large.name).pixels
    assert 10 * np.log10(255**2 / np.mean(change**2)) >= 42
    line = lines(tmp_path / "out")[small.name]
    assert line["marks"] == ["claim"]
    assert "no watermark: a watermark needs 128 pixels a side, the image is 20 x 9" in line["notes"]


def test_signed_outputs_are_valid_and_their_key_is_nowhere(home, filled, images, tmp_path):
    key, chain, _ = issued(tmp_path)
    marks = Marks(sign=str(key), certificate=str(chain))
    applied(home, tmp_path / "out", images=images, strengths=(2.0,), marks=marks)
    for path in (tmp_path / "out").glob("*__*"):
        found = said(home, path)
        assert (found.signature.valid, found.signature.by, found.contradictions) == (
            True,
            "Studio, Tests",
            [],
        )
        assert found.signature.edit_id == found.claim.edit_id
    secret = key.read_bytes().splitlines()[1]
    for path in [*home.root.rglob("*"), *(tmp_path / "out").rglob("*")]:
        assert not path.is_file() or secret not in path.read_bytes()


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (Marks(sign="/nowhere/key.pem"), "both --sign KEY and --cert PEM"),
        (Marks(watermark="/nowhere/key"), "cannot be read"),
        (Marks(also=("path",)), "expected run, name, prompt, found 'path'"),
    ],
)
def test_marks_that_cannot_be_made_are_refused_before_any_work(
    home, filled, images, tmp_path, marks, message
):
    called = []
    with pytest.raises(InputError, match=message):
        applied(home, tmp_path / "out", images=images, marks=marks, work=lambda chunk: called.append(chunk))
    assert called == []
