"""What `loco score` keeps of directions, and what `loco apply` makes of it where no strength is given."""

import numpy as np
import pytest
from PIL import Image

from flows.jobs import ApplyJob, DiscoverJob, ScoreJob
from flows.register import dataset_record, model_record
from flows.start import run_here
from loco.images import read_image
from loco.measure.strength import VISIBLE
from loco.recipes import DiscoverRecipe
from loco.zoo import face_parts
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry
from tests.flows.helpers import applied, first, patch, picture, save
from tests.registry.builders import forget

FACES = 8


def scored(home, *directions, dataset="photos", **changes):
    job = ScoreJob(**({"directions": directions, "dataset": dataset, "steps": 2, "climbs": 2} | changes))
    return run_here(home, None, job)


def test_a_score_keeps_what_a_direction_does_on_the_other_images(home, filled):
    direction = first(home)
    run = scored(home, direction.id)
    assert run.counts["scores"] == 6
    found = filled.transfers([direction.id])[direction.id]
    assert (found.run_id, found.on_dataset, found.transfer_images) == (run.id, "photos", 5)  # not its own
    figures = {one.image_id: one.figures for one in filled.scores(direction.id)}
    assert "change_inside" not in figures[direction.image_id]
    others = [one for key, one in figures.items() if key != direction.image_id]
    assert found.transfer_gain == pytest.approx(float(np.median([one["gain"] for one in others])))
    assert found.transfer_cosine == pytest.approx(float(np.median([one["alike"] for one in others])))
    assert found.responding == np.mean([one["gain"] >= 0.05 * direction.gain for one in others])
    assert found.strength > 0
    assert set(found.details["examples"]) == {"most", "middling", "hardly"}
    assert sum(1 for one in others if "end+" in one) >= 1
    assert filled.verify() == []


def test_the_mean_of_the_others_is_what_an_image_is_compared_with(home, filled):
    """Leave one out, by hand: unit changes in each image's own region."""
    import torch

    from flows.device.models import open_model
    from loco.images import to_model
    from loco.inversion import invert
    from loco.measure.transfer import responses, unit_change

    direction = first(home)
    scored(home, direction.id)
    record, dataset = filled.model("tiny"), filled.dataset("photos")
    pixels = [read_image(dataset_path).pixels for dataset_path in _paths(dataset)]
    x0 = torch.stack([torch.from_numpy(to_model(one, record.shape[1:])) for one in pixels])
    model = open_model(record, "float32")
    path = invert(model, x0, direction.t, 2)
    felt = responses(model, path, torch.from_numpy(filled.vectors([direction])))[:, 0]
    mask = torch.from_numpy(filled.basis(direction.basis_id).rois[0].mask)
    units = [unit_change(one, mask) for one in felt]
    scores = {one.image_id: one.figures["alike"] for one in filled.scores(direction.id)}
    for row, image in enumerate(dataset.images):
        mean = sum(one for other, one in enumerate(units) if other != row)
        expected = float((units[row] * mean).sum() / mean[:, mask].norm())
        assert scores[image.id] == pytest.approx(expected, abs=2e-3)


def _paths(dataset):
    from pathlib import Path

    return [Path(dataset.path) / one.name for one in dataset.images]


def test_reindex_brings_back_what_was_scored_and_an_edits_score_leaves_the_strength(home, filled):
    direction = first(home)
    scored(home, direction.id)
    before = filled.transfers([direction.id])[direction.id]
    scored(home, direction.id, strength=1.0)
    after = filled.transfers([direction.id])[direction.id]
    assert (after.strength, after.strength_most) == (before.strength, before.strength_most)
    assert after.at > before.at
    forget(filled)
    filled.reindex()
    assert filled.transfers([direction.id])[direction.id] == after
    assert [one.id for one in filled.find(sort="transfer", min_transfer=0)][:1] == [direction.id]


def test_parts_give_what_the_whole_gives(home, filled):
    from flows.engine.options import Shard

    direction = first(home)
    for number in (1, 2):
        scored(home, direction.id, shard=Shard(number, 2))
    parts = filled.transfers([direction.id])[direction.id]
    other = Home(home.root.with_name("whole"))
    import shutil

    shutil.copytree(home.root, other.root)
    for path in (*other.root.glob("runs/*/manifest.jsonl"), *other.root.glob("transfers/*")):
        path.unlink()
    whole = Registry(other)
    whole.reindex()
    scored(other, direction.id)
    found = whole.transfers([direction.id])[direction.id]
    assert found.transfer == parts.transfer
    assert found.transfer_gain == pytest.approx(parts.transfer_gain, rel=1e-4)
    assert found.strength == pytest.approx(parts.strength, rel=0.1)


def strengths_of(run):
    return [one[1] for one in run.spec["suited"]]


def test_without_a_strength_the_measured_one_is_applied_unclipped_and_said(
    home, filled, photos, tmp_path, words
):
    direction = first(home)
    scored(home, direction.id)
    strength = filled.transfers([direction.id])[direction.id].strength
    asked = {
        "directions": ((direction.id, None),),
        "strengths": (),
        "images": photos,
        "beyond": False,
        "limit": 1,
    }
    run = applied(home, tmp_path / "out", watch=words, **asked)
    assert strengths_of(run) == [strength]
    [edit] = filled.edits(run.id)
    assert edit.recipe["directions"] == [[direction.id, strength]]
    assert (
        f"note: strength {strength:g} of patch-{direction.id[:8]}, as `loco score` found on photos"
        in words.said
    )


def test_without_a_measured_strength_it_is_reckoned_from_the_gain(home, filled, photos, tmp_path, words):
    direction = first(home)
    asked = {"directions": ((direction.id, None),), "strengths": (), "images": photos, "limit": 1}
    run = applied(home, tmp_path / "out", watch=words, **asked)
    [strength] = strengths_of(run)
    assert strength * direction.gain / (direction.roi_area * 3 * 8 * 8) ** 0.5 == pytest.approx(
        0.25, rel=0.01
    )
    told = f"strength {strength:g} of patch-{direction.id[:8]} is reckoned from its gain"
    assert any(told in one for one in words.said)


def test_several_share_one_budget_and_a_resumed_run_keeps_its_strengths(home, filled, photos, tmp_path):
    one, other = filled.find(sort="id", limit=2)
    asked = {"directions": ((one.id, None), (other.id, None)), "strengths": (), "images": photos, "limit": 1}
    run = applied(home, tmp_path / "out", **asked)
    single = dict(run.spec["suited"])
    [edit] = filled.edits(run.id)
    weights = dict(edit.recipe["directions"])
    cosine = abs(float(np.vdot(*filled.vectors([one, other]))))
    total = sum(weights[key] ** 2 / single[key] ** 2 for key in single) * (1 + cosine)
    assert total == pytest.approx(1, rel=0.02)
    from dataclasses import replace

    from flows.jobs import asked as read_back

    job = read_back("apply", run.spec)
    assert job.suited == tuple(sorted(single.items()))
    changed = replace(filled.transfers([]).get(one.id) or _told(one), strength=99.0)
    filled.add_transfers([changed])
    again = run_here(home, None, job)
    assert (again.counts["done"], again.counts["skipped"]) == (0, 1)


def _told(direction):
    from tests.registry.builders import make_transfer

    return make_transfer(direction.id)


def test_a_measured_end_takes_the_place_of_the_linear_range_where_strengths_are_clipped(
    home, filled, photos, tmp_path, words
):
    direction = first(home)
    filled.add_transfers([_told(direction).__class__(**{**vars(_told(direction)), "strength_most": 5.0})])
    run = applied(home, tmp_path / "out", strengths=(9.0,), images=photos, limit=1, beyond=False, watch=words)
    [edit] = filled.edits(run.id)
    assert edit.recipe["directions"] == [[direction.id, 5.0]]
    assert any("beyond what most images take, strengths up to 5: 5 is applied" in one for one in words.said)


def test_images_whose_masks_lack_the_region_are_passed_through_and_others_are_edited(home, filled, tmp_path):
    folder = tmp_path / "some"
    for number in range(2):
        save(folder / f"{number}.png", picture(number))
        save(folder / "masks" / "patch" / f"{number}.png", patch() * number)
    run = applied(home, tmp_path / "out", images=folder, strengths=(2.0,))
    assert (run.counts["done"], run.counts["no_effect"]) == (2, 1)
    same = [
        np.array_equal(read_image(path).pixels, read_image(folder / f"{path.name[0]}.png").pixels)
        for path in sorted((tmp_path / "out").glob("*.png"))
    ]
    assert same == [True, False]
    again = applied(home, tmp_path / "out", images=folder, strengths=(2.0,))
    assert again.counts["skipped"] == 2
    save(folder / "masks" / "patch" / "0.png", patch())  # it was painted since
    later = applied(home, tmp_path / "out", images=folder, strengths=(2.0,))
    assert (later.counts["done"], later.counts["skipped"]) == (1, 1)


def test_what_is_found_across_a_dataset_is_scored_on_the_images_behind(home, filled):
    from flows.jobs import AcrossJob
    from flows.score.held_out import scoring_of
    from tests.flows.helpers import RECIPE

    job = AcrossJob("tiny", "photos", ("patch",), RECIPE, limit=4)
    run = run_here(home, None, job)
    scoring, told = scoring_of(home, filled, job, run)
    assert told.endswith("on 2 images that they were not found on")
    assert run_here(home, None, scoring).counts["scores"] == 2 * len(scoring.directions)
    [found, *_] = filled.find(scope="dataset", sort="transfer")
    behind = {image.id for image in filled.dataset("photos").images[4:]}
    assert {one.image_id for one in filled.scores(found.id)} == behind
    assert filled.transfers([found.id])[found.id].transfer_images == 2
    whole = AcrossJob("tiny", "photos", ("patch",), RECIPE)
    scoring, told = scoring_of(home, filled, whole, run_here(home, None, whole))
    assert (scoring.skip, scoring.limit) == (0, 6)
    assert "the images that they were found on" in told


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A home with the embedded model, faces and bald faces, and a hair direction of one of the former, scored."""
    folder = tmp_path_factory.mktemp("faces")
    home = Home(folder / "home")
    registry = Registry(home)
    registry.add_model(model_record("faces", "zoo:faces32"))
    for _ in write_scenes(folder / "haired", 11, FACES, 32, ("hair", "mouth")):
        pass
    outline = face_parts.hair_outline
    face_parts.hair_outline = lambda scene, grow, bottom: (
        0 * outline(scene, grow, bottom) + 10
    )  # outside everywhere
    try:
        for _ in write_scenes(folder / "bald", 11, FACES, 32, ("hair", "mouth")):
            pass
    finally:
        face_parts.hair_outline = outline
    for name in ("haired", "bald"):
        registry.add_dataset(dataset_record(name, folder / name))
    recipe = DiscoverRecipe(t=0.4, steps=5, rank=1, null_rank=2, max_rounds=10, tol=0.1, ranged=False)
    run_here(home, None, DiscoverJob("faces", "haired", ("hair",), recipe, limit=1))
    [direction] = registry.find()
    scored(home, direction.id, dataset="haired", steps=5)
    return registry, direction, folder


def test_a_hair_direction_does_not_respond_on_bald_faces(faces):
    registry, direction, _ = faces
    on_hair = registry.transfers([direction.id])[direction.id]
    assert (on_hair.responding, on_hair.no_op) == (1.0, 0.0)
    run = scored(registry.home, direction.id, dataset="bald", steps=5)
    assert (run.status, run.counts["absent"]) == ("done", FACES)
    found = registry.transfers([direction.id])[direction.id]
    assert (found.on_dataset, found.transfer_images) == ("bald", 0)
    assert (found.responding, found.no_op, found.transfer) == (0.0, 1.0, None)
    assert found.strength == on_hair.strength


def test_bald_faces_are_passed_through(faces, tmp_path):
    registry, direction, folder = faces
    job = ApplyJob(((direction.id, None),), (), tmp_path / "out", dataset="bald", steps=5)
    run = run_here(registry.home, None, job)
    assert (run.counts["done"], run.counts["no_effect"], run.counts["evaluations"]) == (FACES, FACES, 0)
    for path in (tmp_path / "out").glob("*.png"):
        source = folder / "bald" / f"{path.name.partition('__')[0]}.png"
        assert np.array_equal(read_image(path).pixels, read_image(source).pixels)


def test_without_a_strength_the_change_is_seen_and_unsaturated_on_nine_faces_of_ten(faces, tmp_path):
    registry, direction, folder = faces
    job = ApplyJob(((direction.id, None),), (), tmp_path / "out", dataset="haired", steps=5)
    assert run_here(registry.home, None, job).status == "done"
    good = []
    for path in sorted((tmp_path / "out").glob("*.png")):
        name = f"{path.name.partition('__')[0]}.png"
        before, after = (
            read_image(one).pixels.astype(float) / 127.5 - 1 for one in (folder / "haired" / name, path)
        )
        mask = np.asarray(Image.open(folder / "haired" / "masks" / "hair" / name)) > 0
        change = (after - before)[mask]
        clipped = (np.abs(after[mask]) == 1) & (np.abs(before[mask]) < 1)
        good.append(np.sqrt((change**2).mean()) >= VISIBLE and clipped.mean() < 0.2)
    assert len(good) == FACES
    assert np.mean(good) >= 0.9


def test_first_order_costs_one_evaluation_an_image_and_direction_beside_the_inversion(home, filled):
    """Also of the images that the mean change is taken over, in whichever chunk they are; nothing is inverted again."""
    from tests.flows.helpers import discovered

    discovered(home, rois=("lower=box:0,0.5,1,1",), limit=2)
    ids = [one.id for one in filled.find()]
    run = scored(home, *ids, climbs=0)
    kept = 6  # of the inversion, which discovery left in the cache, the mean at t alone is new
    assert run.counts["evaluations"] == kept + 6 * len(ids)
