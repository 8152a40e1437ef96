"""Discovery across a dataset: on the tiny model, without Prefect; `test_kinds.py` holds it to the engine's contract."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest

import flows.discover.across
from flows.discover import rounds as state
from flows.engine.retries import Lost
from flows.jobs import AcrossJob, ApplyJob, DiscoverJob, plain
from flows.kinds import KINDS, job_of
from flows.register import dataset_record, model_record
from flows.start import run_here
from loco.errors import InputError
from loco.images import read_image
from loco.recipes import METHODS
from registry.home import Home
from registry.registry import Registry
from tests.families import BUILDERS
from tests.flows.helpers import RECIPE, REPOSITORY, Words, counts, discovered, patch, picture, save

MORE = replace(RECIPE, rank=2, null_rank=2, tol=0.05, max_rounds=6)


@pytest.fixture(autouse=True)
def _as_a_new_process(monkeypatch):
    """What another test taught this process of its memory is forgotten: fewer vectors at a time count otherwise."""
    monkeypatch.setattr(flows.discover.across, "_CHUNK", {})


def across(home, watch=None, work=None, run_id=None, recipe=MORE, rois=("patch",), dataset="photos", **more):
    return run_here(home, None, AcrossJob("tiny", dataset, rois, recipe, **more), watch, work, run_id)


def found(registry, **filters):
    return registry.find(scope="dataset", sort="index", **filters)


def test_the_directions_are_of_the_dataset_and_are_applied_as_any_other(registry, home, tmp_path, loco):
    words = Words()
    run = across(home, words)
    assert (run.status, counts(run), run.counts["directions"]) == ("done", (6, 6, 0, 0), 2)
    first, second = found(registry, dataset="photos", roi="patch")
    assert (first.images, first.roi, first.index, second.index) == (6, "patch", 0, 1)
    assert 0 <= first.coverage <= 1
    assert 0 <= first.stability <= 1
    assert 0 < first.alpha_bar < 1
    basis = registry.basis(first.basis_id)
    assert (basis.image_name, basis.rois[0].source) == ("photos", "dataset:photos")
    assert basis.rois[0].mask.sum() == 16
    assert np.median(basis.arrays["gains"][:, 0]) == pytest.approx(first.gain)
    assert np.median(basis.arrays["leakages"][:, 0]) == pytest.approx(first.leakage)
    assert {bytes(one).hex() for one in basis.arrays["images"]} == {
        one.id for one in registry.dataset("photos").images
    }
    assert basis.arrays["spectrum.0"].shape[0] == 2
    assert basis.arrays["spectrum.0"][0, 0] == pytest.approx(first.singular_value, rel=1e-5)
    applied = loco(
        "apply",
        "--direction",
        f"{first.short}:2",
        "--dataset",
        "photos",
        "--out",
        tmp_path / "out",
        "--steps",
        2,
    )
    assert len(sorted((tmp_path / "out").glob("*.png"))) == 6, applied.err
    assert not registry.verify()
    assert sorted(one.name for one in (home.runs / run.id).iterdir()) == ["log.txt", "manifest.jsonl"]


def measured(registry, tiny, photos, direction):
    """What each image of the direction's basis says to it by itself, in the file's order: gain and leakage."""
    import torch

    from loco.diffusion.codec import seen
    from loco.images import to_model
    from loco.inversion import invert
    from loco.linalg.jacobian import JacobianOperator
    from loco.models.diffusers_folder import open_folder
    from loco.rois.roi import Roi
    from loco.rois.rows import rows_of
    from loco.shaping import leakage_of

    basis = registry.basis(direction.basis_id)
    _, denoiser = open_folder(tiny, dtype=torch.float32)
    vector = torch.from_numpy(registry.vectors([direction]))
    told = []
    for digest in basis.arrays["images"]:
        [image] = [one for one in registry.dataset("photos").images if one.id == bytes(digest).hex()]
        pixels = torch.from_numpy(to_model(read_image(photos / image.name).pixels, direction.shape[1:]))
        x_t = invert(denoiser, pixels[None], MORE.t, MORE.steps).x_t[0]
        response = JacobianOperator(seen(denoiser, MORE.t), x_t).mv(vector.flatten(1))[0]
        mask = rows_of(Roi("patch", basis.rois[0].mask, "x"), direction.shape, response.device)
        told.append((float(response[mask].norm()), leakage_of(response, mask)))
    return np.array(told)


def test_gain_and_leakage_are_those_of_each_image_by_itself(registry, home, tiny, photos):
    across(home)
    first = found(registry)[0]
    arrays = registry.basis(first.basis_id).arrays
    kept = np.stack([arrays["gains"][:, 0], arrays["leakages"][:, 0]], 1)
    np.testing.assert_allclose(kept, measured(registry, tiny, photos, first), rtol=1e-3)


def test_directions_of_a_latent_model_are_latents_and_edit_images(registry, home, tmp_path):
    folder = tmp_path / "sd"
    folder.mkdir()
    BUILDERS["stable_diffusion"](folder)
    model = model_record("sd", str(folder))
    registry.add_model(model)
    recipe = replace(MORE, rank=1, null_rank=1, steps=3, max_rounds=2)
    for asked in (
        AcrossJob("sd", "photos", ("patch",), recipe, 3),
        DiscoverJob("sd", "photos", ("patch",), recipe, 3),
        AcrossJob("sd", "photos", ("patch",), replace(recipe, aligned=True), 3),
    ):
        assert counts(run_here(home, None, asked))[3] == 0
    together = found(registry, model=model.id)
    [single] = registry.find(scope="image", model=model.id, limit=1)
    assert len(together) == 2  # by the network, and put together from the catalogue
    for one in together:
        assert one.shape == single.shape != model.shape
        vector = registry.vectors([one])[0]
        assert vector.shape == one.shape
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    out = tmp_path / "out"
    edits = ApplyJob(((together[0].id, 1.0),), (2.0,), out, dataset="photos", steps=3, beyond=True, limit=1)
    assert counts(run_here(home, None, edits)) == (1, 1, 0, 0)


def test_images_without_the_region_are_left_out_and_counted(registry, home, photos, tmp_path):
    """Two masks are empty: the direction is of the other four images."""
    shutil.copytree(photos, tmp_path / "some")
    for number in (2, 5):
        save(tmp_path / "some" / "masks" / "patch" / f"{number}.png", np.zeros((12, 12), np.uint8))
    registry.add_dataset(dataset_record("some", tmp_path / "some"))
    run = across(home, dataset="some")
    assert (run.status, run.counts["done"], run.counts["absent"]) == ("done", 4, 2)
    assert {one.images for one in found(registry, dataset="some")} == {4}
    again = across(home, dataset="some")
    assert (again.counts["skipped"], again.counts["absent"], again.counts["evaluations"]) == (4, 2, 0)


def test_another_set_of_the_same_images_is_told_under_which_its_directions_stand(registry, home, photos):
    across(home)
    registry.add_dataset(dataset_record("again", photos))
    words = Words()
    run = across(home, words, dataset="again")
    assert counts(run) == (6, 0, 6, 0)
    told = "known, as those of dataset 'photos': `loco directions list --dataset photos --scope dataset`"
    assert [told in one for one in words.said].count(True) == 1
    words = Words()
    across(home, words)
    assert not [one for one in words.said if "known, as those of" in one]


def test_a_direction_has_one_id_whatever_regions_are_asked_for_beside_it(registry, home):
    across(home)
    alone = [one.id for one in found(registry)]
    across(home, rois=("patch", "lower=box:0,0.5,1,1"))
    both = found(registry, roi=("patch", "lower"))
    assert set(alone) <= {one.id for one in both}
    assert len(both) == 4
    [lower] = {one.source for one in registry.basis(both[-1].basis_id).rois if one.name == "lower"} or {""}
    assert lower in ("", "box:0,0.5,1,1")


def test_an_image_of_large_gain_does_not_drown_the_others():
    """Nine Jacobians answer to one direction, a tenth ten times as strongly to another: the nine have it."""
    import torch

    from loco.across import weights_of
    from loco.linalg.pooled import Pool, Sums, parts
    from tests.toys import Dense

    mask = torch.zeros(12, dtype=torch.bool)
    mask[:6] = True
    matrices = []
    for number in range(10):
        matrix = torch.zeros((12, 12), dtype=torch.float64)
        matrix[0, 1 if number == 9 else 0] = 10.0 if number == 9 else 1.0
        matrices.append(matrix)

    def top(weights):
        pool = Pool.begin(torch.eye(12, dtype=torch.float64)[:3], (1, 0), 1e-6)
        total = sum(
            parts(Dense(one), [mask], pool.fresh, w) for one, w in zip(matrices, weights, strict=True)
        )
        counted = torch.full((2, 2), sum(w[0] for w in weights), dtype=torch.float64)
        return pool.extended(Sums(torch.stack([total, 0 * total]), counted)).solved()[0].right[0]

    assert abs(float(top(weights_of([(1.0,)] * 9 + [(10.0,)]))[0])) > 0.99
    assert abs(float(top([(1.0,)] * 10)[1])) > 0.99
    [(weak,), *_] = weights_of([(1e-3,), (1.0,), (1.0,)])
    assert weak * 1e-6 < 0.01


KILLED = """
import json, os, signal, sys
from pathlib import Path
from flows.jobs import asked
from flows.kinds import KINDS
from flows.start import run_here
from registry.home import Home

def work(chunk):
    result = KINDS["across"].work(chunk)
    if chunk.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

run_here(Home(Path(sys.argv[1])), None, asked("across", json.loads(sys.argv[2])), work=work)
"""


def test_killed_in_round_3_it_goes_on_in_round_3(registry, home):
    """By SIGKILL, in a process of its own, when a chunk's sums of round 3 were written and nobody took them in."""
    job = AcrossJob("tiny", "photos", ("patch",), replace(MORE, tol=1e-4))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home.root), json.dumps(plain(job))],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    [killed] = registry.runs("across")
    assert list((home.runs / killed.id).glob("sums-*.safetensors"))
    passes = []

    def work(chunk):
        passes.append((chunk.phase, chunk.number))
        return KINDS["across"].work(chunk)

    run = run_here(home, None, job, work=work, run_id=killed.id)
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    assert passes[0] == ("round", 3)
    assert passes[-1][0] == "answers"
    file = next(home.bases.glob("*/*.safetensors"))
    resumed = file.read_bytes()
    file.unlink()
    run_here(home, None, job)
    assert file.read_bytes() == resumed
    assert sorted(one.name for one in (home.runs / run.id).iterdir()) == ["log.txt", "manifest.jsonl"]


def test_a_state_of_another_job_or_a_damaged_one_is_not_gone_on_with(registry, home):
    rounds = state.Rounds("round", spent=(1, 2, 3.0))
    state.keep(home, "a" * 32, "key", rounds)
    assert state.kept(home, "a" * 32, "key") == rounds
    assert state.kept(home, "a" * 32, "other") == state.Rounds()
    path = state.rounds_path(home, "a" * 32)
    path.write_bytes(path.read_bytes()[:-1] if path.stat().st_size > 300 else b"{}")
    assert state.kept(home, "a" * 32, "key") == state.Rounds()


def test_an_image_that_is_lost_on_the_way_is_left_out_from_the_start(registry, home):
    """A space is of the same images all through: what is lost in round 2 has no part in what was found before."""
    passes = []

    def work(chunk):
        passes.append((chunk.phase, chunk.number))
        if chunk.number == 2 and "3.png" in chunk.names:
            raise Lost("its worker died")
        return KINDS["across"].work(chunk)

    words = Words()
    run = across(home, words, work)
    assert (run.status, counts(run)) == ("partial", (6, 5, 0, 1))
    assert any(text == "begins again without 3.png" for text in words.said)
    assert {one.images for one in found(registry)} == {5}
    assert passes.index(("round", 2)) < len(passes) - 1 - passes[::-1].index(("start", 0))
    alone = Registry(home).basis(found(registry)[0].basis_id)
    assert len(alone.arrays["images"]) == 5


@pytest.mark.parametrize("method", METHODS)
def test_rounds_on_some_of_the_images_each_time_others(registry, home, method):
    seen = {}

    def work(chunk):
        seen.setdefault((chunk.phase, chunk.number), set()).update(chunk.names)
        return KINDS["across"].work(chunk)

    run = across(home, work=work, recipe=replace(MORE, images_per_round=2, tol=0.001, method=method))
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    rounds = [names for (phase, _), names in seen.items() if phase == "round"]
    assert {len(names) for names in rounds} == {2}
    assert len({tuple(sorted(names)) for names in rounds}) > 1
    assert len(seen["answers", 0]) == 6
    assert {one.images for one in found(registry)} == {6}


def test_what_cannot_be_asked_of_all_images_together_is_refused_before_any_work():
    with pytest.raises(InputError, match="leave --shard out"):
        AcrossJob("tiny", "photos", ("patch",), RECIPE, shard="1/2")
    with pytest.raises(InputError, match="the solver is krylov, found 'power'"):
        AcrossJob("tiny", "photos", ("patch",), replace(RECIPE, solver="power"))
    with pytest.raises(InputError, match="found on one image"):
        AcrossJob("tiny", "photos", ("patch",), replace(RECIPE, edit_prompt="a smile"))
    with pytest.raises(InputError, match="images_per_round goes with --across"):
        DiscoverJob("tiny", "photos", ("patch",), replace(RECIPE, images_per_round=4))


def test_from_the_command_line(registry, home, loco):
    knobs = ("--t", "0.5", "--steps", "2", "--rank", "1", "--null-rank", "1")
    told = loco("discover", "--model", "tiny", "--dataset", "photos", "--roi", "patch", "--across", *knobs)
    assert "directions" in told.out
    assert {one.method for one in found(registry)} == {"constrained"}
    shown = loco("directions", "list").out.splitlines()
    assert "coverage" in shown[0]
    assert "6 images" in shown[1]
    assert "photos, 6 images" in loco("directions", "show", found(registry)[0].short).out
    assert loco("jobs", "list", "--kind", "across").out.count("across") >= 1


def test_put_together_from_the_catalogue_without_the_network(registry, home, tiny, photos, monkeypatch):
    """What discovery left of each image, whose singular vectors bound the responses from below."""
    discovered(home, rois=("patch",), recipe=MORE)

    def refuse(*_):
        raise AssertionError("the network was opened")

    monkeypatch.setattr("flows.device.models.open_model", refuse)
    words = Words()
    run = across(home, words, recipe=replace(MORE, aligned=True))
    assert (run.status, counts(run), run.counts.get("evaluations", 0)) == ("done", (6, 6, 0, 0), 0)
    again = across(home, recipe=replace(MORE, aligned=True))
    assert (again.status, counts(again)) == ("done", (6, 0, 6, 0))
    monkeypatch.undo()
    first = found(registry, dataset="photos")[0]
    assert (first.method, first.images >= 3) == ("aligned", True)
    bound = registry.basis(first.basis_id).arrays["gains"][:, 0]
    exact = measured(registry, tiny, photos, first)[:, 0]
    assert (bound[np.isfinite(bound)] <= 1.01 * exact[np.isfinite(bound)]).all()
    assert np.nanmedian(bound) > 0
    assert not registry.verify()


def test_what_either_method_found_on_the_images_is_put_together_alike(bare, tmp_path):
    """Before the projection their files hold the same."""
    made = []
    for method in METHODS:
        home = Home(shutil.copytree(bare.root, tmp_path / method))
        discovered(home, rois=("patch",), recipe=replace(MORE, method=method))
        across(home, recipe=replace(MORE, aligned=True))
        registry = Registry(home)
        made.append(registry.vectors(found(registry, dataset="photos")))
    assert len(made[0])
    assert np.array_equal(*made)


def test_nothing_in_the_catalogue_to_put_together_is_said_with_what_to_do(registry, home):
    with pytest.raises(InputError, match="run the same `loco discover` without --across first"):
        across(home, recipe=replace(MORE, aligned=True))
    with pytest.raises(InputError, match="put together by the method `projected`"):
        AcrossJob("tiny", "photos", ("patch",), replace(MORE, aligned=True, method="constrained"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_memory_is_flat_from_64_images_to_4096(registry, home, tmp_path):
    """Of this process, which has the network, the sums and the state: 64 times the images, less than 64 MiB more."""
    folder = tmp_path / "many"
    for number in range(4096):
        save(folder / f"{number:04d}.png", picture(number))
        save(folder / "masks" / "patch" / f"{number:04d}.png", patch())
    registry.add_dataset(dataset_record("many", folder))
    process = psutil.Process()
    across(home, dataset="many", limit=64)
    few = process.memory_info().rss
    run = across(home, dataset="many", recipe=replace(MORE, max_rounds=3))
    assert run.counts["done"] == 4096
    assert process.memory_info().rss - few < 64 << 20


def test_estimates_and_known_ask_no_network(registry, home, no_network):
    job = job_of(home, None, AcrossJob("tiny", "photos", ("patch",), MORE))
    job.check()
    assert not job.known()
    assert (job.estimate().images, job.estimate().known) == (6, 0)
