"""One contract for every kind of job, from which the table in docs/architecture.md is held true.

Without Prefect, on the tiny model and six images: what the engine does is the same whatever a chunk is.
"""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from flows.device import steady
from flows.discover import chunk as discovery
from flows.engine.progress import said
from flows.engine.record import ask_to_stop, fail_unbegun
from flows.engine.retries import Lost
from flows.jobs import AcrossJob, ApplyJob, DiscoverJob, ScoreJob, asked, plain
from flows.kinds import KINDS, job_of
from flows.register import dataset_record
from flows.schedules.schedule import Schedule, as_data, read, schedules_folder
from flows.start import run_here
from loco.errors import InputError
from loco.ids import file_id
from tests.flows.contract import can, shows
from tests.flows.helpers import RECIPE, REPOSITORY, Words, counts, first, state


@pytest.fixture
def jobs(filled, home, photos, tmp_path):
    """A job of each kind that has six items to do."""
    shutil.copytree(photos, tmp_path / "images")
    filled.add_dataset(dataset_record("own", tmp_path / "images"))
    recipe = replace(RECIPE, seed=7)
    return {
        "discover": DiscoverJob("tiny", "own", ("patch",), recipe),
        "across": AcrossJob("tiny", "own", ("patch",), recipe),
        "apply": ApplyJob(
            ((first(home).id, 1.0),),
            (2.0,),
            str(tmp_path / "out"),
            dataset="own",
            steps=2,
            beyond=True,
            cache=0,
        ),
        "score": ScoreJob((first(home).id,), "own", 3.0, 2),
    }


def made(home, job):
    """The files that a job makes: name -> checksum of its bytes; a score's figures are rows."""
    if isinstance(job, DiscoverJob):
        paths = home.bases.glob("*/*.safetensors")
    elif isinstance(job, ApplyJob):
        from pathlib import Path

        paths = Path(job.out).glob("*__*")
    else:
        return {}
    return {path: file_id(path) for path in paths}


def figures(registry):
    return {(one.direction_id, one.image_id): one.figures for one in registry.scores()}


def test_every_kind_has_a_job_and_every_job_a_kind(jobs, home):
    assert set(KINDS) == set(jobs)
    for kind, job in jobs.items():
        assert (job.kind, KINDS[kind].kind) == (kind, kind)


@can("plain data and back; chunks can be sent elsewhere")
def test_a_job_is_plain_data_and_comes_back(kind, jobs, home):
    job = jobs[kind]
    told = json.loads(json.dumps(plain(job)))
    assert asked(kind, told) == job
    assert asked(kind, job_of(home, None, job).spec() | {"more": 1}) if kind != "apply" else True
    with pytest.raises(InputError, match="this describes no "):
        asked(kind, {"nothing": 1})


@can("plain data and back; chunks can be sent elsewhere")
def test_a_chunk_can_be_sent_elsewhere(kind, jobs, home, filled):
    def sent(chunk):
        work = pickle.loads(pickle.dumps(KINDS[kind].work))  # noqa: S301
        return pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(chunk)))))  # noqa: S301

    assert counts(run_here(home, None, jobs[kind], work=sent)) == (6, 6, 0, 0)
    assert filled.verify() == []


HALF = """
import json, sys, time
from pathlib import Path
from flows.jobs import asked
from flows.kinds import job_of
from flows.start import run_here
from registry.home import Home

home, kind, spec = Home(Path(sys.argv[1])), sys.argv[2], json.loads(sys.argv[3])
job = asked(kind, spec)

def work(chunk):
    planned = job_of(home, None, job)
    planned.check()
    planned.prepare(type("Nobody", (), {"say": lambda self, text: None})())
    planned.work(planned.halved(chunk)[0])
    print("half", flush=True)
    time.sleep(600)

run_here(home, None, job, work=work)
"""


@can(
    "killed (SIGKILL) and resumed under its id, nothing finished made again",
    across="yes, by the round",
    score="yes, by the chunk: figures are rows, written when a chunk is back",
)
def test_killed_in_the_middle_of_a_chunk_and_resumed(kind, jobs, home, filled):
    """By SIGKILL, in a process of its own, once half a chunk's files were written and nothing was told of them."""
    job = jobs[kind]
    before = {one.id for one in filled.runs()}
    with subprocess.Popen(
        [sys.executable, "-c", HALF, str(home.root), kind, json.dumps(plain(job))],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
    [killed] = [one for one in filled.runs() if one.id not in before]
    kept = state(*made(home, job))
    assert killed.status == "running"
    run = run_here(home, None, asked(kind, killed.spec), run_id=killed.id)
    assert (run.id, run.status, run.counts["planned"], run.counts["failed"]) == (killed.id, "done", 6, 0)
    assert run.counts["done"] + run.counts["skipped"] == 6
    assert state(*kept) == kept
    assert filled.verify() == []


@can("`loco jobs cancel`, `resume`, `logs`, live counts")
def test_cancelled_and_resumed(kind, jobs, home, filled):
    job = jobs[kind]

    def work(chunk):
        ask_to_stop(home, filled.runs(kind)[0].id, "cancelled", "enough")
        return KINDS[kind].work(chunk)

    run = run_here(home, None, job, work=work)
    assert (run.status, counts(run)) == ("cancelled", (6, 0, 0, 0))
    again = run_here(home, None, job, run_id=run.id)
    assert (again.id, again.status, counts(again)) == (run.id, "done", (6, 6, 0, 0))


@pytest.fixture
def spoiled(jobs, tmp_path):
    """Two of the six images are none any more."""
    for number in (1, 4):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"spoiled")


@can("budget of failures", apply="yes, in outputs")
def test_a_budget_of_failures(kind, jobs, home, filled, spoiled):
    """Two of six fail: more than 1 (20 % of six), not more than 3 (50 %)."""
    run = run_here(home, None, replace(jobs[kind], max_failures="20%"))
    assert run.status == "stopped"
    assert re.fullmatch(
        r"stopped: 2 of 6 (images|outputs) failed, more than --max-failures 20% allows \(1\)",
        run.provenance["stopped"],
    )
    again = run_here(home, None, replace(jobs[kind], max_failures="50%"), run_id=run.id)
    assert (again.id, again.status, again.counts["failed"]) == (run.id, "partial", 2)
    assert again.counts["done"] + again.counts["skipped"] == 4


@can(
    "a lost chunk is halved, a lost image tried once more alone",
    across="yes; what is lost after the first round is left out from the start",
)
def test_a_lost_chunk_is_halved_until_the_image_is_found(kind, jobs, home, filled):
    words = Words()

    def work(chunk):
        if "3.png" in chunk.names:
            raise Lost("its worker died")
        return KINDS[kind].work(chunk)

    run = run_here(home, None, jobs[kind], words, work)
    assert (run.status, counts(run)) == ("partial", (6, 5, 0, 1))
    assert any(re.fullmatch(r"failed: 3\.png.*: Lost: its worker died", text) for text in words.said)
    assert any(line.endswith("halving") for line in said(home, run.id))
    assert filled.verify() == []


class Pool:
    """Three chunks at a time; when one's process dies, which it does once, those that are out die with it."""

    width = 3

    def __init__(self, kind):
        self.kind, self.out, self.died = kind, [], False

    def submit(self, chunk):
        self.out.append(_Out(self, chunk))
        return self.out[-1]


class _Out:
    def __init__(self, pool, chunk):
        self.pool, self.chunk, self.dead = pool, chunk, False

    def result(self):
        if not self.pool.died and "3.png" in self.chunk.names and len(self.chunk.names) == 1:
            self.pool.died = True
            for other in self.pool.out:
                other.dead = True
        if self.dead:
            raise Lost("its worker died")
        if len(self.chunk.names) > 1:
            raise Lost("too much at once")
        return KINDS[self.pool.kind].work(self.chunk)


@can("a lost chunk is halved, a lost image tried once more alone")
def test_a_lost_image_is_tried_once_more_alone(kind, jobs, home, filled):
    words = Words()
    run = run_here(home, None, jobs[kind], words, Pool(kind))
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    assert any("once more, with none beside it" in text for text in words.said)


@pytest.fixture
def small_memory(monkeypatch):
    """The network runs out of memory for more than two images at once."""
    from flows.device import models

    class Small:
        def __init__(self, denoiser):
            self.denoiser = denoiser
            self.name, self.shape, self.schedule = denoiser.name, denoiser.shape, denoiser.schedule

        def posterior_mean(self, x_t, t):
            if len(x_t) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self.denoiser.posterior_mean(x_t, t)

    for name in ("open_model", "open_fast"):
        opened = getattr(models, name)
        monkeypatch.setattr(models, name, lambda *some, opened=opened: Small(opened(*some)))
    for module in (discovery, steady):
        monkeypatch.setattr(module, "_MOST", {})


@can("out of memory: smaller batches, and the run goes on")
def test_out_of_memory(kind, jobs, home, filled, small_memory):
    words = Words()
    run = run_here(home, None, jobs[kind], words)
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    assert run.counts["halved"] > 0
    assert any("out of memory" in text for text in words.said)


@shows(
    "`--max-memory`",
    apply="no: it is run forwards, batches shrink by themselves",
    score="no: likewise",
)
def test_the_memory_of_a_network_that_is_run_backwards_is_told(jobs, home, filled):
    told = [kind for kind, job in jobs.items() if hasattr(job, "max_memory")]
    assert told == ["discover", "across"]
    for kind in told:
        run = run_here(home, None, replace(jobs[kind], max_memory=0.001))
        assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))


@can(
    "the same whatever the chunks and the runner",
    discover="same bytes",
    across="same bytes",
    apply="same bytes",
    score="same figures to the last digits",
)
def test_the_same_whatever_the_chunks(kind, jobs, home, filled, template, tmp_path):
    """One image a chunk, or all together: the same ids, and for files the same bytes."""

    def one_by_one(chunk):
        if len(chunk.names) > 1:
            raise Lost("smaller, please")
        return KINDS[kind].work(chunk)

    run_here(home, None, jobs[kind])
    together, scored = made(home, jobs[kind]), figures(filled)
    for path in together:
        path.unlink()
    if kind == "apply":
        shutil.rmtree(tmp_path / "out")
        for path in home.cache.rglob("*.safetensors"):
            path.unlink()
    if kind == "score":
        home.catalogue.unlink()
        shutil.rmtree(home.runs)
        filled.reindex()
    run = run_here(home, None, jobs[kind], work=one_by_one)
    assert run.counts["failed"] == 0
    assert made(home, jobs[kind]) == {path: together[path] for path in made(home, jobs[kind])}
    assert (
        len(made(home, jobs[kind])) == {"score": 0, "apply": len(together), "across": 1, "discover": 6}[kind]
    )
    if kind == "score":
        found = figures(filled)
        assert found.keys() == scored.keys()
        assert all(found[key] == pytest.approx(scored[key], rel=1e-4, abs=1e-6) for key in scored)
    assert scored or kind != "score"


@can("on a schedule", score="by Python only: scores are asked for, not awaited")
def test_a_schedule_of_it_is_a_file(kind, jobs, home):
    schedule = Schedule("nightly", jobs[kind], "0 2 * * *", created_at="2026-11-21T10:00:00")
    path = schedules_folder(home) / "nightly.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(as_data(schedule)))
    assert read(home, "nightly") == schedule


@can("on a schedule")
def test_a_scheduled_run_that_fails_before_it_is_recorded_is_seen(kind, jobs, home, filled):
    spec = plain(replace(jobs[kind], dataset="gone"))
    error = InputError("no dataset is called 'gone'")
    for _ in range(2):  # once
        fail_unbegun(filled, kind, spec, "a" * 32, {"schedule": "nightly"}, error)
    [run] = [one for one in filled.runs(kind) if one.id == "a" * 32]
    assert (run.status, run.provenance["schedule"]) == ("failed", "nightly")
    assert run.provenance["error"] == "no dataset is called 'gone'"


KNOWN = """
import json, sys
from pathlib import Path
from flows.jobs import asked
from flows.start import run
from registry.home import Home

done = run(Home(Path(sys.argv[1])), None, asked(sys.argv[2], json.loads(sys.argv[3])))
print(json.dumps([done.status, done.counts, sorted({"torch", "prefect", "diffusers"} & sys.modules.keys())]))
"""


@can(
    "nothing new costs neither torch nor Prefect",
    apply="yes, but with `--confine`",
    score="no: its rows say it only when they are read",
)
def test_where_everything_is_known_neither_torch_nor_prefect_is_asked(kind, jobs, home, filled):
    run_here(home, None, jobs[kind])
    done = subprocess.run(
        [sys.executable, "-c", KNOWN, str(home.root), kind, json.dumps(plain(jobs[kind]))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    status, found, loaded = json.loads(done.stdout)
    assert (status, found["planned"], found["skipped"], loaded) == ("done", 6, 6, [])


@can("nothing new costs neither torch nor Prefect", score="no: its rows say it only when they are read")
def test_where_something_is_new_it_is_not_taken_for_known(kind, jobs, home, filled, tmp_path):
    job = jobs[kind]
    assert not job_of(home, None, job).known() if kind != "apply" else True
    run_here(home, None, job)
    checked = job_of(home, None, job)
    checked.check()
    assert checked.known()
    next(iter(made(home, job))).unlink()
    other = replace(job, recipe=replace(job.recipe, seed=8)) if kind != "apply" else replace(job, steps=3)
    checked = job_of(home, None, other)
    checked.check()
    assert not checked.known()
