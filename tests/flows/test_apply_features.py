"""What can be chosen of an edit, and what is not computed twice."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from flows.apply.stream import apply_chunk
from flows.jobs import Mix
from loco.errors import InputError, RoiError
from loco.finish import edge_of, feather
from loco.ids import content_id
from loco.images import read_image
from loco.recipes import SD, EditRecipe
from loco.rois import segment
from registry.files import manifests
from tests import segmenters
from tests.flows.helpers import Words, applied, counts, first, patch, picture, save

STEPS = 2


@pytest.fixture
def filled(filled, home):
    """Without the inverted images that discovery left."""
    shutil.rmtree(home.root / "cache")
    return filled


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for number in range(4):
        save(folder / f"{number}.png", picture(30 + number, 16, 16))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def lines(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def made(out, image, strength):
    [path] = out.glob(f"{image}__*__{strength}.png")
    return read_image(path).pixels.astype(int)


def test_an_image_costs_what_it_must(home, filled, images, out, tmp_path):
    """n + 1 evaluations for its path, n for each edit; nothing for strength 0; no path that is in the cache."""
    run = applied(home, out, images=images, strengths=(0.0,))
    assert run.counts["evaluations"] == 0
    run = applied(home, out, images=images, strengths=(0.0, 1.0, 2.0))
    assert run.counts["evaluations"] == 4 * ((STEPS + 1) + 2 * STEPS)
    assert counts(run) == (12, 8, 4, 0)
    run = applied(home, tmp_path / "again", images=images, strengths=(1.0,))
    assert run.counts["evaluations"] == 4 * STEPS
    assert np.array_equal(made(out, 1, "+1"), made(tmp_path / "again", 1, "+1"))
    run = applied(home, tmp_path / "no cache", images=images, strengths=(1.0,), cache=0)
    assert run.counts["evaluations"] == 4 * (2 * STEPS + 1)
    run = applied(home, tmp_path / "other steps", images=images, strengths=(1.0,), t=0.4)
    assert run.counts["evaluations"] == 4 * (2 * STEPS + 1)


def test_a_damaged_cache_is_computed_again(home, filled, images, out, tmp_path):
    applied(home, out, images=images, strengths=(1.0,))
    entries = sorted((home.root / "cache").rglob("*.safetensors"))
    assert len(entries) == 4
    entries[0].write_bytes(entries[0].read_bytes()[:-3] + b"???")
    entries[1].write_bytes(b"")
    run = applied(home, tmp_path / "again", images=images, strengths=(1.0,))
    assert run.counts["evaluations"] == 4 * STEPS + 2 * (STEPS + 1)
    shutil.rmtree(home.root / "cache")
    run = applied(home, tmp_path / "and again", images=images, strengths=(1.0,))
    assert (run.status, run.counts["evaluations"]) == ("done", 4 * (2 * STEPS + 1))


def test_several_recipes_share_the_inversion(home, filled, images, out):
    one, two = filled.find(sort="id", limit=2)
    run = applied(
        home,
        out,
        images=images,
        directions=((one.id, 1.0), (two.id, 1.0)),
        strengths=(1.0, -1.0),
        each=True,
        also=(Mix(((one.id, 1.0), (two.id, 0.5)), (3.0,), "both"),),
    )
    assert counts(run) == (20, 20, 0, 0)
    assert run.counts["evaluations"] == 4 * (STEPS + 1 + 5 * STEPS)
    assert len(list(out.glob("0__*"))) == 5
    assert (out / "0__both__+3.png").is_file()
    line = next(line for line in lines(out) if line["output"] == "0__both__+3.png")
    assert line["recipe"]["directions"] == [[one.id, 3.0], [two.id, 1.5]]
    assert (line["status"], line["strength"], line["found_at"]) == ("done", 3.0, [0.5, 0.5])
    assert line["seconds"] > 0
    assert len({line["recipe_id"] for line in lines(out)}) == 5


def test_confined_to_the_images_own_region(home, filled, images, out, tmp_path):
    for number in range(3):
        save(images / "masks" / "patch" / f"{number}.png", patch(16, 16))
    run = applied(home, out, images=images, strengths=(4.0,), confine="patch")
    assert counts(run) == (4, 3, 0, 1)
    inside = patch(16, 16) > 0
    changed = np.zeros((16, 16), bool)
    for number in range(3):
        before = read_image(images / f"{number}.png").pixels.astype(int)
        here = (made(out, number, "+4") != before).any(axis=2)
        assert not here[~inside].any()
        changed |= here
    assert changed[inside].any()
    failed = next(line for line in lines(out) if line["status"] == "failed")
    assert failed["cause"].startswith("ROI 'patch' of 3.png: no mask ")
    box = applied(home, tmp_path / "box", images=images, strengths=(4.0,), confine="top=box:0,0,1,0.5")
    assert counts(box) == (4, 4, 0, 0)
    before = read_image(images / "3.png").pixels.astype(int)
    here = (made(tmp_path / "box", 3, "+4") != before).any(axis=2)
    assert here[:8].any()
    assert not here[8:].any()
    with pytest.raises(InputError):
        applied(home, tmp_path / "no", images=images, confine="a=circle")
    assert issubclass(RoiError, Exception)


def test_confined_to_what_a_segmentation_model_sees_in_images_of_any_folder(
    home, filled, images, out, tmp_path
):
    folder = segmenters.semantic(tmp_path / "model")
    labels = segment._labels(folder, read_image(images / "0.png"))
    most = int(np.bincount(labels.ravel()).argmax())
    ask = {"images": images, "strengths": (4.0,), "limit": 1}
    run = applied(home, out, confine=f"hair=segment:{folder}#{most}", **ask)
    assert counts(run) == (1, 1, 0, 0)
    changed = (made(out, 0, "+4") != read_image(images / "0.png").pixels).any(axis=2)
    assert not changed[labels != most].any()
    assert list(home.masks.rglob("*.png")), "what the model said is kept"


def test_confined_to_nearly_everything_is_warned_of_as_discovery_does(home, filled, images, out):
    watch = Words()
    ask = {"images": images, "strengths": (2.0, 4.0), "limit": 1, "watch": watch}
    applied(home, out, confine="top=box:0,0,1,0.9375", **ask)
    told = "ROI 'top' covers 93.8 % of the image: next to nothing is outside of it; if it should not, look at its mask"
    assert [one for one in watch.said if "covers" in one] == [f"note: 0.png: {told}"]  # once an image
    assert all(line["notes"] == [told] for line in lines(out))
    watch.said.clear()
    applied(home, out, confine="top=box:0,0,1,0.5", **ask)
    assert not any("covers" in one for one in watch.said)


def test_another_mask_is_another_edit(home, filled, images, out):
    for number in range(4):
        save(images / "masks" / "patch" / f"{number}.png", patch(16, 16))
    applied(home, out, images=images, strengths=(4.0,), confine="patch")
    save(images / "masks" / "patch" / "0.png", 255 - patch(16, 16))
    run = applied(home, out, images=images, strengths=(4.0,), confine="patch")
    assert counts(run) == (4, 1, 3, 0)
    assert len(lines(out)) == 4  # the line of the first edit is superseded


def test_a_large_picture_has_an_edge_as_wide_and_a_narrow_region_keeps_its_middle():
    mask = np.zeros((256, 256), bool)
    mask[64:192, 64:192] = True
    weight = feather(mask, edge_of(mask, 1 / 32))
    ramp = weight[128, 60:76]
    assert np.array_equal(ramp[:4], np.zeros(4))
    assert np.allclose(np.diff(ramp[3:13]), 1 / 9)  # eight pixels, no step larger than another
    assert ramp[13:].min() == 1
    narrow = np.zeros((256, 256), bool)
    narrow[100:107] = True
    assert feather(narrow, 16).max() == 1
    assert edge_of(mask[:32, :32], 1 / 64) == 2


def test_the_recipe_says_how_wide_the_edge_is():
    one = EditRecipe(0.5, (("a" * 32, 1.0),), confine="mouth")
    wide = replace(one, feather=0.1)
    assert content_id("recipe", one) != content_id("recipe", wide)
    assert content_id("recipe", replace(wide, feather=0.0)) == content_id("recipe", one)
    with pytest.raises(InputError, match="feather must lie in"):
        replace(one, feather=0.6)


def test_feathered_weights_stay_inside():
    mask = patch(16, 16) > 0
    weight = feather(mask, 2)
    assert (weight[~mask] == 0).all()
    assert (weight[mask] > 0).all()
    assert set(np.unique(weight[mask])) == {np.float32(1 / 3), np.float32(2 / 3), np.float32(1)}
    assert np.array_equal(feather(mask, 0), mask.astype(np.float32))
    assert (feather(np.ones((5, 5), bool)) == 1).all()


def test_calibrated_strengths_predict_the_same_change(home, filled, images, out):
    one, two = filled.find(sort="id", limit=2)
    applied(
        home,
        out,
        images=images,
        directions=((one.id, 1.0), (two.id, 1.0)),
        strengths=(0.1, -0.1),
        unit="sd",
        each=True,
    )
    found = lines(out)
    assert len(found) == 16
    assert {line["output"].rpartition("__")[2] for line in found} == {"+0.1sd.png", "-0.1sd.png"}
    import torch

    from flows.device.models import open_model
    from loco.diffusion.sampling import invert
    from loco.images import to_model

    denoiser = open_model(filled.model("tiny"), "float32")
    vectors = dict(zip((one.id, two.id), torch.from_numpy(filled.vectors([one, two])), strict=True))
    for line in found:
        direction = one if line["recipe"]["directions"][0][0] == one.id else two
        x0 = torch.from_numpy(to_model(read_image(images / line["image_name"]).pixels, (8, 8)))[None]
        x_t = invert(denoiser, x0, 0.5, STEPS)
        with torch.no_grad():
            moved = denoiser.posterior_mean(x_t + vectors[direction.id], 0.5) - denoiser.posterior_mean(
                x_t, 0.5
            )
        predicted = abs(line["metrics"]["lambda"]) * float(moved.norm())
        assert predicted == pytest.approx(0.1 * SD * (direction.roi_area * 3 * 64) ** 0.5, rel=0.02)
        assert (line["metrics"]["lambda"] > 0) == (line["strength"] > 0)
    assert len({round(line["metrics"]["lambda"], 3) for line in found}) > 4


def test_images_without_effect_are_passed_through_and_marked(home, filled, images, out):
    run = applied(home, out, images=images, strengths=(2.0,), min_effect=0.999)
    found = {line["image_name"]: line for line in lines(out)}
    gone = [name for name, line in found.items() if line["status"] == "no_effect"]
    assert run.counts["no_effect"] == len(gone) > 0
    assert counts(run) == (4, 4, 0, 0)
    assert run.counts["evaluations"] == 4 * (STEPS + 1) + 4 + (4 - len(gone)) * (STEPS - 1)
    for name in gone:
        assert np.array_equal(
            read_image(out / found[name]["output"]).pixels, read_image(images / name).pixels
        )
    assert counts(applied(home, out, images=images, strengths=(2.0,), min_effect=0.999)) == (4, 0, 4, 0)


def test_orthogonal_to_another_direction(home, filled, images, out, tmp_path):
    one, two = filled.find(sort="id", limit=2)
    applied(home, out, images=images, strengths=(2.0,))
    run = applied(home, tmp_path / "b", images=images, strengths=(2.0,), against=(two.id[:12],))
    assert counts(run) == (4, 4, 0, 0)
    assert lines(tmp_path / "b")[0]["recipe"]["against"] == [two.id]
    nothing = applied(
        home, tmp_path / "c", images=images, strengths=(2.0,), against=(one.id,), directions=((one.id, 1.0),)
    )
    assert nothing.counts["no_effect"] == 4


def test_a_preview_costs_two_evaluations_and_one_from_the_cache(home, filled, images, out, tmp_path):
    run = applied(home, out, images=images, strengths=(1.0, 2.0, -2.0), preview=True)
    assert run.counts["evaluations"] == 4 * 2
    assert not (home.root / "cache").exists()
    assert lines(out)[0]["recipe"]["preview"] is True
    applied(home, tmp_path / "whole", images=images, strengths=(1.0,))
    run = applied(home, tmp_path / "again", images=images, strengths=(1.0,), preview=True)
    assert run.counts["evaluations"] == 4


def test_strengths_beyond_the_linear_range_are_clipped_and_said(home, filled, images, out, words):
    from dataclasses import replace

    from registry.files.basis import read_basis

    one = first(home)
    basis = filled.basis(one.basis_id)
    known = replace(
        basis,
        directions=tuple(
            replace(direction, linear_range=3.0) if direction.id == one.id else direction
            for direction in basis.directions
        ),
    )
    home.basis(basis.id).unlink()
    filled.add(known)
    assert read_basis(home.basis(basis.id)).directions[0].linear_range == 3.0
    applied(
        home,
        out,
        images=images,
        directions=((one.id, 2.0),),
        strengths=(-5.0, 1.0),
        beyond=False,
        watch=words,
    )
    title = f"{one.roi}-{one.id[:8]}"
    assert words.said == [
        f"note: strength -5 of {title} is beyond its linear range of 3: -1.5 is applied; --beyond applies it "
        "as it is"
    ]
    clipped = [line for line in lines(out) if line["strength"] == -5.0]
    assert len(clipped) == 4
    for line in clipped:
        assert line["recipe"]["directions"] == [[one.id, -3.0]]
        assert line["metrics"]["lambda"] == pytest.approx(-3.0)
        assert line["notes"] == ["clipped to the linear range: -5 became -1.5"]
        assert line["applied"] == -1.5
        assert line["output"].endswith(f"__{title}x2__-1.5of-5.png"), "the name tells what was applied"


def test_the_second_order_solver(home, filled, images, out, tmp_path):
    run = applied(home, out, images=images, strengths=(2.0,), solver="dpm2")
    assert (run.status, run.counts["evaluations"]) == ("done", 4 * (2 * STEPS + 1))
    assert lines(out)[0]["recipe"]["solver"] == "dpm2"
    with pytest.raises(InputError, match="solver must be one of ddim, dpm2"):
        applied(home, out, images=images, solver="euler")


def test_targets_that_lack_the_region_by_their_own_mask_are_absent_and_named(
    home, filled, images, out, words
):
    for number in range(4):
        save(images / "masks" / "patch" / f"{number}.png", patch(16, 16) * (number != 2))
    ask = {"images": images, "strengths": (2.0, 4.0), "confine": "patch", "work": apply_chunk}
    run = applied(home, out, watch=words, **ask)
    assert (run.status, counts(run), run.counts["absent"]) == ("done", (8, 6, 0, 0), 2)
    reason = "ROI 'patch' of 2.png is empty at 16 x 16: no pixel of mask:patch/2.png is inside"
    assert [text for text in words.said if text.startswith("absent")] == [f"absent: 2.png: {reason}"]
    absent = list(manifests.absences(home.root / run.manifest))
    assert [(one["image"], one["absent"]) for one in absent] == [("2.png", [["", reason]])]
    assert [line["cause"] for line in lines(out) if line["status"] == "absent"] == [reason] * 2
    save(images / "masks" / "patch" / "2.png", patch(16, 16))
    assert counts(applied(home, out, **ask)) == (8, 2, 6, 0)
    assert {line["status"] for line in lines(out)} == {"done"}
