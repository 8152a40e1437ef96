"""An estimate before the work says what the work then is, and leaves no trace."""

import json
from dataclasses import replace

import pytest

from flows.device.measured import note
from flows.engine.estimate import MEASURED
from flows.engine.options import Runner, Shard
from flows.jobs import ApplyJob, DiscoverJob, ScoreJob
from flows.start import estimate, run_here
from loco.recipes import DiscoverRecipe
from registry.registry import Registry
from tests.flows.helpers import RECIPE, first


@pytest.fixture
def jobs(filled, home, tmp_path):
    pushed = ((first(home).id, 1.0),)
    return {
        "discover": DiscoverJob("tiny", "photos", ("lower=box:0,0.5,1,1",), RECIPE),
        "apply": ApplyJob(
            pushed, (-2.0, 0.0, 2.0), tmp_path / "out", dataset="photos", steps=3, beyond=True, cache=0
        ),
        "score": ScoreJob((first(home).id,), "photos", 2.0, 3),
    }


def _all_files(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


@pytest.mark.parametrize("kind", ["discover", "apply", "score"])
def test_it_says_what_a_run_then_takes_and_writes_nothing(kind, jobs, home, tmp_path, no_network, no_server):
    before = _all_files(tmp_path)
    told = estimate(home, None, jobs[kind])
    assert _all_files(tmp_path) == before
    assert (told.images, told.known, told.workers) == (6, 0, 1)
    assert told.edits == (18 if kind == "apply" else 0)
    assert told.bytes > 0


@pytest.mark.parametrize("kind", ["apply", "score"])
def test_its_evaluations_are_those_that_are_counted(kind, jobs, home):
    told = estimate(home, None, jobs[kind])
    run = run_here(home, None, jobs[kind])
    assert told.evaluations == run.counts["evaluations"] > 0
    after = estimate(home, None, jobs[kind])
    assert (after.known, after.evaluations, after.edits, after.seconds) == (6, 0, 0, 0)


def test_partly_known_images_cost_what_is_left(jobs, home):
    job = replace(jobs["apply"], preview=False, unit="sd", strengths=(0.5,))
    run_here(home, None, replace(job, limit=2))
    told = estimate(home, None, replace(job, strengths=(0.5, 1.0)))
    assert (told.images, told.known, told.edits) == (6, 0, 10)
    assert told.evaluations == 2 * (4 + 1 + 3) + 4 * (4 + 1 + 6)


def test_before_a_first_run_of_a_model_its_time_is_not_known(registry, home):
    told = estimate(home, None, DiscoverJob("tiny", "photos", ("patch",), RECIPE))
    assert (told.images, told.evaluations, told.seconds, told.rate, told.run) == (6, None, None, None, None)


def test_before_a_first_run_its_time_is_that_of_the_evaluation_that_model_add_measured(registry, home):
    """20 steps and 131 evaluations in all for one region at the defaults of ranks, 44 more for each further one."""
    note(home, registry.model("tiny"), "cpu", 20.0, None)
    job = DiscoverJob("tiny", "photos", ("patch",), DiscoverRecipe(t=0.5))
    told = estimate(home, None, job)
    assert (told.evaluations, told.seconds, told.rate, told.run) == (6 * 131, 6 * 131 * 20.0, 0.05, None)
    more = estimate(home, None, replace(job, rois=("patch", "a=box:0,0,1,1", "b=box:0,0,.5,1")))
    assert more.evaluations == 6 * 219


def test_the_time_is_that_of_the_last_measured_run_on_so_many_workers(jobs, home):

    job = replace(jobs["discover"], limit=2)
    run = run_here(home, None, job)
    measured = Registry(home).runs("discover")[0].provenance[MEASURED]
    assert (measured["images"], measured["evaluations"]) == (2, run.counts["evaluations"])
    told = estimate(home, None, replace(job, limit=None, runner=Runner("processes", 2)))
    assert (told.images, told.known, told.run) == (6, 2, run.id)
    assert told.evaluations == 2 * run.counts["evaluations"]
    assert told.seconds == pytest.approx(2 * measured["seconds"] / 2, abs=0.1)


def test_a_part_is_estimated_alone(jobs, home):

    told = estimate(home, None, replace(jobs["apply"], shard=Shard(1, 3)))
    assert (told.images, told.edits) == (2, 6)


def test_the_command_line_tells_it_in_words_and_as_json(loco, jobs, home, tmp_path, no_server):
    options = ("--dataset", "photos", "--out", tmp_path / "out", "--steps", "3", "--dry-run")
    asked = ("apply", "--direction", f"{first(home).id}:2", *options)
    assert "6, of which 0 are known" in loco(*asked, prefect=True).out
    [told] = loco(*asked, "--json", prefect=True).json
    assert (told["images"], told["edits"], told["evaluations"], told["steps"]) == (6, 6, 42, 3)
    assert not (tmp_path / "out").exists()
    assert loco("score", "--direction", first(home).id, "--dataset", "photos", "--dry-run", "--json").json
    discover = ("discover", "--model", "tiny", "--dataset", "photos", "--roi", "patch", "--t", "0.5")
    [told] = loco(*discover, "--dry-run", "--json", prefect=True).json
    assert json.dumps(told["known"]) == "0"
