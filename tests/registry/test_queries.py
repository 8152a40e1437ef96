from dataclasses import replace

import pytest

from loco.errors import InputError, UnknownName
from loco.ids import content_id
from registry.files import manifests
from tests.registry.builders import (
    MODEL,
    image_id,
    make_basis,
    make_edit,
    make_model,
    make_run,
)

BOTH = True  # the contract of either catalogue


def test_known(filled):
    basis = make_basis(0)
    ids = [one.id for one in basis.directions]
    assert filled.known([*ids, "0" * 32, "no id", "'; drop table"]) == set(ids)


def test_regions_without_an_outside_sort_last_and_pass_no_filter_of_leakage_or_retained(registry):
    """A file that tells leakage 0 and retained 1 of the whole image, as older programs wrote them."""
    registry.add_model(make_model())
    registry.add(make_basis(0, rank=1, rois=("hair",)))
    registry.add(wide := _whole(make_basis(1, rank=1, rois=("skin",), shape=(3, 1, 5))))
    [direction] = wide.directions
    [found] = registry.find(roi="skin")
    assert (found.roi_area, found.leakage, found.retained) == (1.0, None, None)
    for sort in ("leakage", "-leakage", "retained", "-retained"):
        assert [one.roi for one in registry.find(sort=sort)] == ["hair", "skin"], sort
    for filters in ({"max_leakage": 1e9}, {"min_retained": 0.0}, {"where": "leakage < 1 or retained > 0"}):
        assert [one.roi for one in registry.find(**filters)] == ["hair"], filters
    [group] = registry.grouped("roi", roi="skin")
    assert (group["leakage_min"], group["leakage_mean"], group["retained_max"]) == (None, None, None)
    assert registry.direction(direction.id) == registry.basis(wide.id).directions[0] == found
    assert registry.verify() == []
    registry.reindex()
    assert registry.find(roi="skin") == [found]


def _whole(basis):
    """The basis with the figures of before: `Direction` itself no longer takes them for a whole image."""
    for one in basis.directions:
        object.__setattr__(one, "leakage", 0.0)
        object.__setattr__(one, "retained", 1.0)
    return basis


def test_find_filters(filled):
    def names(**filters):
        return sorted({filled.image_name(one.image_id) for one in filled.find(**filters)})

    assert len(filled.find()) == 12
    assert names(dataset="portraits") == ["000.png", "001.png", "002.png"]
    assert (
        names(image="face_001.png") == names(image="001.png") == names(image=image_id(1)[:8]) == ["001.png"]
    )
    assert filled.find(image="nobody.png") == []
    assert filled.find(image=image_id(99)) == []
    assert names(t=0.4) == ["face_004.png"]
    assert names(t=(0.3, 0.5)) == ["face_004.png"]
    assert len(filled.find(t=(0.4, 0.6))) == 12
    assert filled.find(t=0.5) == []
    assert len(filled.find(roi="mouth")) == 2
    assert filled.find(roi="mouth'--") == []
    assert names(min_gain=9.0) == ["face_004.png"]
    assert names(max_leakage=0.02) == ["000.png", "001.png"]
    assert all(one.retained >= 0.85 for one in filled.find(min_retained=0.85))
    assert len(filled.find(min_retained=0.85)) == len(filled.find(converged=True)) == 6
    assert all(not one.converged for one in filled.find(converged=False))
    assert (
        len(filled.find(model="faces"))
        == len(filled.find(model=MODEL))
        == len(filled.find(model=MODEL[:9]))
        == 10
    )
    assert len(filled.find(model=content_id("model", "other"))) == 2
    assert len(filled.find(model="faces", dataset="portraits", roi="hair", converged=True, t=0.6)) == 3
    with pytest.raises(UnknownName, match=r"no model is called 'nope'; known are faces;"):
        filled.find(model="nope")
    with pytest.raises(UnknownName, match=r"no dataset is called 'nope'; known are portraits;"):
        filled.find(dataset="nope")


def test_find_sorts_and_limits(filled):
    gains = [one.gain for one in filled.find()]
    assert gains == sorted(gains, reverse=True)
    leakages = [one.leakage for one in filled.find(sort="leakage")]
    assert leakages == sorted(leakages)
    assert filled.find(limit=3) == filled.find()[:3]
    ties = filled.find(sort="t", roi="hair")
    assert ties == sorted(ties, key=lambda one: (one.t, one.id))
    with pytest.raises(InputError, match="sort: expected one of id, "):
        filled.find(sort="-beauty")
    with pytest.raises(InputError, match="limit: expected at least 1"):
        filled.find(limit=0)


def test_a_direction_by_id_and_prefix(filled):
    one = filled.find(limit=1)[0]
    assert filled.direction(one.id) == filled.direction(one.short) == filled.direction(one.id[:6]) == one
    with pytest.raises(UnknownName, match=r"direction 'abc' is too short: give 6 to 32 characters"):
        filled.direction("abc")
    with pytest.raises(UnknownName, match=r"direction 'hair%' is no id"):
        filled.direction("hair%")
    missing = "0" * 32
    with pytest.raises(
        UnknownName, match=f"no direction has an id beginning with '{missing}'; `loco directions list`"
    ):
        filled.direction(missing)


def test_an_ambiguous_prefix_lists_five_candidates(registry):
    basis = make_basis(rank=7)
    same_start = [replace(one, id="abcdef" + one.id[6:]) for one in basis.directions]
    registry.add(replace(basis, directions=tuple(same_start)))
    with pytest.raises(UnknownName) as caught:
        registry.direction("abcdef")
    message = str(caught.value)
    assert "direction 'abcdef' is ambiguous: " in message
    assert sum(one.short in message for one in same_start) == 5
    assert "hair 0, t 0.6, gain 5" in message or "hair 1, t 0.6, gain 4" in message
    assert message.endswith("and more; give more characters")


def test_directions_of_datasets_come_first_and_are_of_the_dataset_that_they_are_called_after(filled):
    """They are of no single image: the dataset's name leads to them, whatever their gain."""
    across = make_basis(9, scope="dataset", image_name="portraits")
    across = replace(across, directions=tuple(replace(one, gain=0.1) for one in across.directions))
    filled.add(across)
    first, second, *rest = filled.find(dataset="portraits")
    assert {first.id, second.id} == {one.id for one in across.directions}
    assert {one.scope for one in rest} == {"image"}
    assert rest[0].gain > first.gain
    assert (first.images, first.coverage, first.stability) == (3, 0.75, 0.9)
    assert [one.scope for one in filled.find(scope="dataset")] == ["dataset"] * 2
    assert len(filled.find(scope="image", dataset="portraits")) == len(rest)
    assert filled.find(sort="-gain")[0].scope == "image"
    with pytest.raises(InputError, match="scope: expected one of image, dataset"):
        filled.find(scope="images")


def test_image_names(filled):
    assert filled.image_name(image_id(0)) == "000.png"
    assert filled.image_name(image_id(4)) == "face_004.png"
    assert filled.image_name(image_id(99)) is None


def test_runs(home, registry):
    running = make_run(1, status="running")
    registry.start_run(running)
    assert registry.run(running.id[:8]) == running
    done = make_run(1)
    registry.finish_run(done)
    other = make_run(2, kind="discover")
    registry.start_run(other)
    assert registry.runs() == [other, done]
    assert registry.runs("apply") == [done]
    lines = manifests.read(home.root / done.manifest)
    assert [line["run"]["status"] for line in lines] == ["running", "done"]
    with pytest.raises(UnknownName, match="run 'ab' is too short"):
        registry.run("ab")
    with pytest.raises(InputError, match="an id is 32 characters"):
        registry.start_run(make_run(3, id="../../x"))


def test_edits(home, registry):
    registry.start_run(make_run(0))
    registry.start_run(make_run(1))
    registry.add_edits([make_edit(0), make_edit(1)])
    registry.add_edits(iter([make_edit(0, run=1, output="later.png")]))
    registry.add_edits([])
    assert registry.edits(make_run(0).id) == [make_edit(0), make_edit(1)]
    assert len(registry.edits()) == 3
    found = registry.known_edits([make_edit(0).id, make_edit(1).id, "0" * 32, "x"])
    assert {one.output for one in found.values()} == {"later.png", "out.png"}
    assert found[make_edit(0).id].run_id == make_run(1).id
    registry.add_edits([make_edit(1, metrics={"change": 0.5})])
    assert registry.edits(make_run(0).id)[1].metrics == {"change": 0.5}
    assert len(manifests.read(home.root / make_run(0).manifest)) == 4


def test_edits_whose_lines_were_written_before(home, registry):
    manifests.append(home, make_run().id, [manifests.edit_line(make_edit())])
    registry.add_edits([make_edit()], logged=True)
    assert registry.edits() == [make_edit()]
    assert len(manifests.read(home.root / make_run().manifest)) == 1


def test_summary(filled):
    assert filled.summary() == {
        "models": 1,
        "datasets": 1,
        "images": 3,
        "rois": 2,
        "runs": 2,
        "bases": 5,
        "directions": 12,
        "edits": 2,
    }
