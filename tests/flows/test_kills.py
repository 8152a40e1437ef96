"""kill -9 of the flow, of a task's process, of the server and of the worker, in the middle: nothing finished is redone.

Real command line, real Prefect, real processes. One moment here; ten random moments each are the slow tests.
"""

import os
import random
import shutil
import signal
import time

import psutil
import pytest

from flows.engine.record import status_of
from flows.register import dataset_record
from flows.server.server import server_status
from loco.ids import file_id
from registry.registry import Registry
from tests.flows.contract import can
from tests.flows.helpers import discovered, picture, save, state, wait_for
from tests.flows.tars import check_packed, lines, shards

IMAGES = 24


@pytest.fixture(scope="module")
def crowd(world):
    """A dataset of many small images, whose discovery takes seconds."""
    folder = world.folder / "crowd"
    for number in range(IMAGES):
        save(folder / f"{number:02d}.png", picture(300 + number))
    Registry(world.home).add_dataset(dataset_record("crowd", folder))
    return folder


def ask(world, roi, *more):
    words = (
        "--json",
        "discover",
        "--model",
        "tiny",
        "--dataset",
        "crowd",
        "--recipe",
        world.recipe,
        "--t",
        0.5,
    )
    return (*words, "--roi", roi, *more)


def bases(world):
    return set(world.home.bases.glob("*/*.safetensors"))


def box(number):
    """A region of its own for each moment, at 8 x 8 pixels too, so that each run has all its work to do."""
    return f"moment=box:0,0,{(number % 8 + 1) / 8},{(number // 8 + 1) / 8}"


def delay(world, known, moment, process):
    """Until some work is done, and then a part of it more."""
    wait_for(lambda: bases(world) - known or process.poll() is not None, 250)
    assert bases(world) - known, process.communicate()
    time.sleep(moment)


def kill_flow(world, number, moment):
    known = bases(world)
    process = world.start(*ask(world, box(number)))
    delay(world, known, moment, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return known, None


def kill_task(world, number, moment):
    """One of the processes that work on chunks; the run itself goes on with fresh ones."""
    known = bases(world)
    process = world.start(*ask(world, box(number), "--runner", "processes", "--workers", 2))
    delay(world, known, moment, process)
    workers = [
        one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())
    ]
    if workers:
        workers[-1].kill()
    return known, process


def kill_server(world, number, moment):
    """The run, which keeps the server, starts it again and goes on."""
    known = bases(world)
    process = world.start(*ask(world, box(number)))
    delay(world, known, moment, process)
    os.kill(server_status(world.home).pid, signal.SIGKILL)
    return known, process


def survived(world, kill, number, moment):
    """Kill, look at what was finished, go on, and find all of it untouched and everything done once."""
    before_runs = {one.id for one in Registry(world.home).runs()}
    known, process = kill(world, number, moment)
    finished = bases(world) - known
    kept = state(*finished)
    if process is not None:
        world.finish(process)
    [run] = [one for one in Registry(world.home).runs("discover") if one.id not in before_runs]
    if process is None and status_of(run) == "interrupted":  # it may have ended before it was killed
        [ended] = world.loco("--json", "jobs", "resume", run.id).json
        assert ended["id"] == run.id
    run = Registry(world.home).run(run.id)
    assert (run.status, run.counts["failed"]) == ("done", 0)
    assert run.counts["done"] + run.counts["skipped"] == IMAGES
    assert state(*finished) == kept
    made = [Registry(world.home).basis(path.stem) for path in bases(world) - known]
    assert len(made) == IMAGES
    # What a killed process did not tell of is in the files all the same, and was not computed again.
    assert run.counts["evaluations"] <= sum(one.evaluations for one in made)
    world.cleanly()


def test_the_server_killed_once(world, crowd):
    """(The flow is killed in test_crash.py.)"""
    survived(world, kill_server, 0, 0.2)


@pytest.fixture
def words(world, crowd):
    """What each kind is asked on the command line: seconds of work that nobody did before."""
    discovered(world.home, dataset="crowd", rois=("all=box:0,0,1,1",), limit=1)
    direction = Registry(world.home).find(model="tiny", roi="all")[0].id
    of = ("--dataset", "crowd", "--steps", 60, "--direction")
    return {
        "discover": ask(world, box(60))[1:],
        "across": (*ask(world, box(61))[1:], "--across"),
        "apply": ("apply", *of, f"{direction}:2", "--beyond", "--cache", 0, "--out", world.folder / "killed"),
        "score": ("score", *of, direction, "--strength", 3.5),
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@can("the server killed (SIGKILL): started again, and the run goes on")
def test_the_server_killed_under_each_kind(world, words, kind):
    known = {one.id for one in Registry(world.home).runs(kind)}
    process = world.start(*words[kind])
    [begun] = wait_for(lambda: [one for one in Registry(world.home).runs(kind) if one.id not in known], 250)
    before = server_status(world.home).pid
    os.kill(before, signal.SIGKILL)
    world.finish(process)
    run = Registry(world.home).run(begun.id)
    assert (run.status, run.counts["done"], run.counts["failed"]) == ("done", IMAGES, 0)
    assert begun.status == "running"
    assert server_status(world.home).pid != before
    world.cleanly()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kill", [kill_flow, kill_task, kill_server])
def test_killed_at_ten_moments(world, crowd, kill):
    first = 10 * (1 + [kill_flow, kill_task, kill_server].index(kill))
    moments = random.Random(first)
    for number in range(first, first + 10):
        survived(world, kill, number, moments.uniform(0, 2))


@pytest.fixture
def regular(world, crowd):
    """A schedule that only runs when it is asked to."""
    made = []

    def create(number):
        words = ask(world, box(number))[2:]
        world.loco("schedule", "create", "regular", "--cron", "0 0 1 1 *", "--no-rescan", *words)
        made.append(number)

    yield create
    world.loco("schedule", "remove", "regular")


def killed_with_its_worker(world, create, number, moment):
    """The worker and the flow run that it started, as when a machine loses its power."""
    known = bases(world)
    create(number)
    worker = world.start("worker")
    [asked] = world.loco("--json", "schedule", "run", "regular").json
    delay(world, known, moment, worker)
    family = psutil.Process(worker.pid).children(recursive=True)
    for process in [psutil.Process(worker.pid), *family]:
        if process.pid != server_status(world.home).pid and "prefect server" not in " ".join(
            process.cmdline()
        ):
            process.kill()
    worker.communicate(timeout=60)
    finished = bases(world) - known
    kept = state(*finished)
    worker = world.start("worker")
    try:
        run = wait_for(lambda: ended(world, asked["run"]), 150)
    finally:
        os.kill(worker.pid, signal.SIGTERM)
        worker.communicate(timeout=60)
    assert (run.status, run.counts["failed"]) == ("done", 0)
    assert len(bases(world) - known) == IMAGES
    assert state(*finished) == kept
    world.cleanly()


def ended(world, run_id):
    found = [one for one in Registry(world.home).runs("discover") if one.id == run_id]
    return found[0] if found and found[0].status == "done" else None


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_worker_killed_at_ten_moments(world, regular):
    moments = random.Random(50)
    for number in range(50, 60):
        killed_with_its_worker(world, regular, number, moments.uniform(0, 2))


MANY = 3000


@pytest.fixture(scope="module")
def many(world):
    """Twelve tars of many small images, and a direction to apply to them."""
    folder = shards(world.folder / "many", MANY, MANY // 12)
    discovered(world.home, dataset="crowd", rois=("all=box:0,0,1,1",), limit=1)
    return folder, Registry(world.home).find(model="tiny", roi="all")[0].id


def kill_a_worker(world, process):
    def workers():
        return [
            one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())
        ]

    wait_for(workers)[-1].kill()


def kill_the_server(world, process):
    os.kill(wait_for(lambda: server_status(world.home)).pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("kill", "kills", "format"),
    [(kill_a_worker, 10, "webdataset"), (kill_a_worker, 10, "png"), (kill_the_server, 3, "webdataset")],
)
def test_an_application_loses_nothing_to_kills_at_random_moments(world, crowd, many, kill, kills, format):
    """All in one run: every output is there once, none that was finished is written again."""
    out = world.folder / f"out-{kill.__name__}-{format}"
    images, direction = many
    words = ("--direction", f"{direction}:2", "--beyond", "--images", images, "--steps", 40, "--cache", 0)
    work = ("--format", format, "--runner", "processes", "--workers", 2)
    process = world.start("--json", "apply", *words, "--out", out, *work)
    moments, known, progress = random.Random(60), out / "manifest.jsonl", []
    for moment in sorted(moments.sample(range(1, MANY * 9 // 10), kills)):
        least = max(moment, *(count + 1 for count in progress[-1:]), 1)
        wait_for(lambda least=least: count_lines(known) >= least or process.poll() is not None, 500)
        assert process.poll() is None, process.communicate()
        time.sleep(moments.uniform(0, 0.5))
        made = state(*out.glob("*/*.png"), *out.glob("*.tar"))
        progress.append(count_lines(known))
        kill(world, process)
    [run] = world.finish(process).json
    assert (run["status"], run["counts"]["failed"]) == ("done", 0)
    assert run["counts"]["done"] + run["counts"]["skipped"] == MANY
    assert state(*made) == made, "what was finished was written again"
    told = lines(out)
    assert len(told) == MANY == len({line["output"] for line in told})
    if format == "png":
        assert {line["output"]: line["checksum"] for line in told} == {
            path.relative_to(out).as_posix(): file_id(path) for path in out.glob("*/*.png")
        }
    else:
        assert len(check_packed(out)) == MANY
    shutil.rmtree(out)
    print(f"outputs finished at each kill: {progress}")


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.is_file() else 0
