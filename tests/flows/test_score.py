"""Transfer scores: on the image a direction comes from they are its own evidence; elsewhere each has its own region."""

import numpy as np
import pytest
import torch

from flows.jobs import ScoreJob
from flows.start import run_here
from loco.errors import InputError
from loco.images import read_image, to_model
from tests.flows.helpers import counts, discovered, first


def scored(home, work=None, watch=None, **changes):
    job = ScoreJob(
        **({"directions": (first(home).id,), "dataset": "photos", "strength": 2.0, "steps": 2} | changes)
    )
    return run_here(home, None, job, watch, work)


def test_on_its_own_image_the_score_is_its_evidence(home, filled):
    direction = first(home)
    run = scored(home)
    assert (run.kind, run.status, counts(run), run.counts["scores"]) == ("score", "done", (6, 6, 0, 0), 6)
    scores = {one.image_id: one for one in filled.scores(direction.id)}
    assert len(scores) == 6
    own = scores[direction.image_id].figures
    assert own["gain"] == pytest.approx(direction.gain, rel=5e-3)
    assert own["leakage"] == pytest.approx(direction.leakage, rel=1e-3)
    assert own["roi_area"] == pytest.approx(direction.roi_area)
    assert all(one.strength == 2.0 and one.figures["change_inside"] > 0 for one in scores.values())
    assert filled.verify() == []


@pytest.mark.parametrize("strength", [0.05, -0.05])
def test_in_one_step_a_small_edit_is_its_first_order_change_either_way(home, filled, strength):
    direction = first(home)
    scored(home, strength=strength, steps=1, limit=2)
    cosines = [one.figures["cosine"] for one in filled.scores(direction.id)]
    assert len(cosines) == 2
    assert min(cosines) > 0.99


def test_a_second_time(home, filled):
    scored(home, limit=4)
    assert counts(scored(home)) == (6, 2, 4, 0)
    assert counts(scored(home)) == (6, 0, 6, 0)
    assert counts(scored(home, strength=1.0, limit=1)) == (1, 1, 0, 0)


def test_a_box_goes_along_and_masks_are_the_other_images_own(home, filled, photos):
    discovered(home, rois=("lower=box:0,0.5,1,1",), limit=1)
    box = filled.find(roi="lower")[0]
    run = scored(home, directions=(box.id, first(home).id), limit=2)
    assert run.counts["scores"] == 4
    assert {one.figures["roi_area"] for one in filled.scores(box.id)} == {0.5}


def test_the_measured_change_is_that_of_the_edit(home, filled, photos):
    from flows.device.models import open_model
    from loco.edit import change
    from loco.inversion import invert

    direction = first(home)
    scored(home, limit=1)
    [score] = filled.scores(direction.id)
    model = filled.model("tiny")
    denoiser = open_model(model, "float32")
    pixels = to_model(read_image(photos / "0.png").pixels, model.shape[1:])
    prepared = invert(denoiser, torch.from_numpy(pixels)[None], direction.t, 2)
    delta = change(denoiser, prepared, 2.0 * torch.from_numpy(filled.vectors([direction]))[0])[0].numpy()
    mask = filled.basis(direction.basis_id).rois[0].mask
    assert score.figures["change_inside"] == pytest.approx(
        float(np.sqrt((delta[:, mask] ** 2).mean())), rel=1e-4
    )
    assert score.figures["change_outside"] == pytest.approx(
        float(np.sqrt((delta[:, ~mask] ** 2).mean())), rel=1e-4
    )


def test_an_image_that_fails_costs_none_of_the_others(home, filled, photos, tmp_path, words):
    import shutil

    from flows.register import dataset_record

    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    filled.add_dataset(dataset_record("copy", copy))
    (copy / "1.png").write_bytes(b"spoiled")
    (copy / "masks" / "patch" / "2.png").unlink()
    run = scored(home, dataset="copy", watch=words)
    assert (run.status, counts(run)) == ("partial", (6, 4, 0, 2))
    assert words.said[0].startswith(f"failed: 1.png: {copy / '1.png'}: not an image")
    assert words.said[1].startswith("failed: 2.png (patch): ROI 'patch' of 2.png: no mask")


def test_an_image_without_the_region_is_absent_and_no_failure(home, filled, photos, tmp_path, words):
    import shutil

    from flows.register import dataset_record
    from tests.flows.helpers import patch, save

    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    filled.add_dataset(dataset_record("copy", copy))
    save(copy / "masks" / "patch" / "2.png", 0 * patch())
    run = scored(home, dataset="copy", watch=words)
    assert (run.status, counts(run), run.counts["absent"]) == ("done", (6, 5, 0, 0), 1)
    reason = "ROI 'patch' of 2.png is empty at 12 x 12: no pixel of mask:patch/2.png is inside"
    assert words.said == [f"absent: 2.png: {reason}"]


def test_directions_of_two_levels(home, filled):
    from dataclasses import replace

    from tests.flows.helpers import RECIPE

    one = first(home)
    discovered(home, rois=("patch",), recipe=replace(RECIPE, t=0.3), limit=1)
    other = filled.find(t=0.3)[0]
    with pytest.raises(InputError, match="of one model, one t and one prompt"):
        scored(home, directions=(one.id, other.id))
