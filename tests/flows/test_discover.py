"""Discovery over a dataset without Prefect: what is computed, what is kept, what is not done twice."""

import json
import shutil
from dataclasses import replace

import pytest

from flows.register import dataset_record, model_record
from loco.errors import InputError
from loco.files import sweep, write_atomic
from registry.files.basis import read_basis
from registry.files.basis_bytes import FORMAT
from registry.home import Home
from registry.registry import Registry
from tests.flows.helpers import RECIPE, ROIS, counts, discovered, leftovers, patch, picture, save, state


def bases(home):
    return sorted(home.bases.glob("*/*.safetensors"))


def lines(home, run):
    return [json.loads(line) for line in (home.root / run.manifest).read_text().splitlines()]


def test_counts_rows_and_manifest(home, registry):
    run = discovered(home)
    assert (run.kind, run.status, counts(run)) == ("discover", "done", (6, 6, 0, 0))
    assert run.counts["directions"] + run.counts["refused"] == 12
    assert run.counts["evaluations"] > 0
    assert len(bases(home)) == registry.summary()["bases"] == 6
    assert len(registry.find()) == run.counts["directions"]
    assert {one.roi for one in registry.find()} == {"patch", "lower"}
    [row] = registry.runs()
    assert (row.id, row.status, row.counts) == (run.id, run.status, run.counts)
    kinds = [line["kind"] for line in lines(home, run)]
    assert kinds == ["run", *["basis"] * 6, "run"]
    assert [line["image"] for line in lines(home, run)[1:-1]] == [f"{number}.png" for number in range(6)]
    assert {line["status"] for line in lines(home, run)[1:-1]} == {"done"}
    assert lines(home, run)[-1]["run"]["status"] == "done"
    assert registry.verify() == []


def test_a_second_run_opens_no_network(home, filled, no_network):
    kept = state(*bases(home))
    rows = filled.find()
    run = discovered(home, rois=("patch",))
    assert (run.status, counts(run)) == ("done", (6, 0, 6, 0))
    assert (run.counts["directions"], run.counts["evaluations"]) == (0, 0)
    assert state(*bases(home)) == kept
    assert filled.find() == rows


def test_points_with_fresh_noise_need_no_inversion_and_are_the_same_in_any_company(home, registry):
    """With 2 steps an image costs 2 evaluations less than the inverted one; another batch gives the same bytes."""
    noised = replace(RECIPE, point="noised", max_rounds=1)
    [inverted, run] = [
        discovered(home, rois=("patch",), recipe=recipe) for recipe in (replace(RECIPE, max_rounds=1), noised)
    ]
    assert inverted.counts["evaluations"] - run.counts["evaluations"] == 6 * RECIPE.steps
    kept = {one.name: one.read_bytes() for one in bases(home)}
    assert len(kept) == 12
    for one in bases(home):
        if read_basis(one).recipe == noised:
            one.unlink()
    run = discovered(home, rois=("patch",), recipe=noised, limit=2)
    assert counts(run) == (2, 2, 0, 0)
    assert all(one.read_bytes() == kept[one.name] for one in bases(home))


def test_only_what_is_missing_is_computed(home, filled):
    gone, *kept = bases(home)
    before = state(*kept)
    gone.unlink()
    run = discovered(home, rois=("patch",))
    assert counts(run) == (6, 1, 5, 0)
    assert state(*kept) == before
    assert gone.is_file()
    assert filled.verify() == []


def test_only_the_new_region_is_computed(home, filled):
    before = state(*bases(home))
    run = discovered(home, rois=("patch", "lower=box:0,0.5,1,1"))
    assert counts(run) == (6, 6, 0, 0)
    assert {
        one.name for path in bases(home) if path not in before for one in filled.basis(path.stem).rois
    } == {"lower"}
    assert state(*before) == before
    assert len(bases(home)) == 12
    again = discovered(home, rois=("patch", "lower=box:0,0.5,1,1"))
    assert counts(again) == (6, 0, 6, 0)
    assert len(bases(home)) == 12


def test_limit(home, registry):
    assert counts(discovered(home, limit=2)) == (2, 2, 0, 0)
    assert counts(discovered(home, limit=3)) == (3, 1, 2, 0)


def test_two_runs_give_the_same_bytes_whatever_was_done_together(home, filled, bare, tmp_path):
    """In another home, and first one image, then two, then the rest."""
    other = Home(tmp_path / "other")
    shutil.copytree(bare.root, other.root)
    for limit in (1, 3, None):
        discovered(other, rois=("patch",), limit=limit)
    told = [{path.name: path.read_bytes() for path in bases(one)} for one in (home, other)]
    assert told[0] == told[1]
    assert len(told[0]) == 6


def test_another_recipe_is_another_result(home, filled):
    from dataclasses import replace

    run = discovered(home, rois=("patch",), recipe=replace(RECIPE, seed=1), limit=1)
    assert counts(run) == (1, 1, 0, 0)
    assert len(bases(home)) == 7


def test_a_catalogue_that_is_gone_comes_back_from_the_files(home, filled, no_network):
    rows = filled.find()
    home.catalogue.unlink()
    run = discovered(home, rois=("patch",))
    assert counts(run) == (6, 0, 6, 0)
    assert filled.find() == rows
    assert len(filled.runs()) == 2
    assert filled.verify() == []


def test_rows_that_are_gone_come_back_from_the_files(home, filled, tiny, photos, no_network):
    """As after a kill between file and row, on all images."""
    from registry.index import rows
    from registry.index.session import Catalogue

    found = filled.find()
    ids = [path.stem for path in bases(home)]
    Catalogue(home.catalogue, None, 5).write(lambda session: rows.drop_bases(session, ids))
    assert filled.find() == []
    assert counts(discovered(home, rois=("patch",))) == (6, 0, 6, 0)
    assert filled.find() == found


def test_a_home_without_anything_is_not_made(home):
    with pytest.raises(InputError, match="no model is called 'tiny'"):
        discovered(home)
    assert not home.root.exists()


def test_the_same_image_twice(home, tiny, tmp_path):
    """Two files with the same bytes are one image: one basis, computed once."""
    folder = tmp_path / "twins"
    for name in ("a", "b"):
        save(folder / f"{name}.png", picture(1))
        save(folder / "masks" / "patch" / f"{name}.png", patch())
    registry = Registry(home)
    registry.add_model(model_record("tiny", str(tiny)))
    registry.add_dataset(dataset_record("photos", folder))
    assert counts(discovered(home, rois=ROIS)) == (2, 1, 1, 0)
    assert len(bases(home)) == 1
    assert registry.verify() == []
    assert counts(discovered(home, rois=ROIS)) == (2, 0, 2, 0)


def test_an_error_that_stops_a_run_is_recorded(home, registry):
    def stop(_):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        discovered(home, work=stop)
    [run] = registry.runs()
    assert (run.status, counts(run)) == ("failed", (6, 0, 0, 0))
    assert run.finished_at


def test_what_a_kill_left_half_written_is_swept(home, filled):
    left = home.bases / "00" / f".{'0' * 32}.partial"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    assert [problem.trouble for problem in filled.verify()] == ["half written"]
    discovered(home, rois=("patch",))
    assert leftovers(home.root) == []
    assert filled.verify() == []


def test_what_is_being_written_is_not_swept(tmp_path):
    seen = []

    def check(partial):
        sweep(tmp_path)
        seen.append(partial)
        assert partial.is_file()

    write_atomic(tmp_path / "file", b"bytes", check)
    assert seen
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_less_memory_is_another_chunk_and_the_same_directions(home, registry):
    run = discovered(home, limit=1, max_memory=1e-6)  # GiB: one vector at a time
    assert (run.status, counts(run)) == ("done", (1, 1, 0, 0))
    found = {one.id: vector for one in registry.find() for vector in registry.vectors([one])}
    for path in bases(home):
        path.unlink()
    registry.reindex()
    discovered(home, limit=1)
    for one in registry.find():
        assert abs(float((registry.vectors([one])[0] * found[one.id]).sum())) == pytest.approx(1, abs=1e-4)


def test_an_image_whose_file_is_a_newer_programs_fails_with_that_and_the_file_stays(home, filled, no_network):
    path = bases(home)[0]
    data = path.read_bytes().replace(*(f'\\"format\\":{one}'.encode() for one in (FORMAT, FORMAT + 1)))
    path.write_bytes(data)
    run = discovered(home, rois=("patch",))
    assert (run.status, counts(run)) == ("partial", (6, 0, 5, 1))
    [failure] = [line for line in lines(home, run) if line["kind"] == "failure"]
    told = f"was written by a newer program: its format is {FORMAT + 1}, this program reads up to format {FORMAT}"
    assert told in str(failure)
    assert path.read_bytes() == data
