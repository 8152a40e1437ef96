"""One job by every runner: the same ids in the catalogue. Real clusters, started here."""

from concurrent.futures import BrokenExecutor
from types import SimpleNamespace

import pytest

from flows.engine.options import Runner
from flows.engine.record import COUNTS
from flows.engine.retries import Lost
from flows.jobs import AcrossJob, DiscoverJob
from flows.orchestration.runners import _Out, executor_of
from flows.register import dataset_record
from flows.start import run_here
from loco.errors import InputError
from loco.recipes import DiscoverRecipe
from registry.registry import Registry
from tests.flows.contract import shows
from tests.flows.helpers import discovered, picture, save

IMAGES = 8


@pytest.fixture(scope="module")
def few(world):
    folder = world.folder / "few"
    for number in range(IMAGES):
        save(folder / f"{number}.png", picture(500 + number))
    Registry(world.home).add_dataset(dataset_record("few", folder))


@shows("`--runner local`, `processes`, `dask`, `ray`; `--workers`, `--timeout`")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", ["processes", "dask", "ray"])
def test_the_same_ids_as_in_this_process(world, few, runner, home):
    ask = (
        "--model",
        "tiny",
        "--dataset",
        "few",
        "--recipe",
        world.recipe,
        "--t",
        0.5,
        "--roi",
        "all=box:0,0,1,1",
    )
    known = set(world.home.bases.glob("*/*.safetensors"))
    [run] = world.loco("--json", "discover", *ask, "--runner", runner, "--workers", 2, "--rescan").json
    assert run["status"] == "done"
    assert run["counts"]["done"] + run["counts"]["skipped"] == IMAGES
    found = {one.id for one in Registry(world.home).find(dataset="few")}

    # The same job without Prefect, in a home of its own.
    here = Registry(home)
    here.add_model(Registry(world.home).model("tiny"))
    here.add_dataset(Registry(world.home).dataset("few"))
    from cli.discover_job import chosen_recipe, chosen_values

    recipe = chosen_recipe(chosen_values({"t": 0.5}, world.recipe), here.model("tiny"))
    alone = discovered(home, dataset="few", rois=("all=box:0,0,1,1",), recipe=recipe)
    assert {name: alone.counts[name] for name in COUNTS} == {
        "planned": 8,
        "done": 8,
        "skipped": 0,
        "absent": 0,
        "failed": 0,
    }
    assert {one.id for one in here.find()} == found
    world.cleanly()
    for path in set(world.home.bases.glob("*/*.safetensors")) - known:
        path.unlink()  # for the next runner
    Registry(world.home).reindex()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", ["processes", "dask", "ray"])
def test_the_same_bytes_and_figures_as_in_this_process(world, few, runner):
    """Edited images and scores."""
    discovered(world.home, dataset="few", rois=("all=box:0,0,1,1",), limit=1)
    direction = Registry(world.home).find(model="tiny", roi="all")[0].id
    work = ("--runner", runner, "--workers", 2)
    made = []
    for where, how in ((f"{runner}-here", ()), (f"{runner}-there", work)):
        out = world.folder / where
        ask = (
            "apply",
            "--direction",
            f"{direction}:2",
            "--beyond",
            "--dataset",
            "few",
            "--steps",
            3,
            "--cache",
            0,
        )
        [run] = world.loco("--json", *ask, "--out", out, *how).json
        assert (run["status"], run["counts"]["done"]) == ("done", IMAGES)
        world.loco("--json", *ask, "--out", out / "shards", "--format", "webdataset", *how)
        made.append({path.name: path.read_bytes() for path in (*out.glob("*__*"), *out.glob("shards/*.tar"))})
    assert len(made[0]) == IMAGES + 1
    assert made[0] == made[1]
    ask = ("score", "--direction", direction, "--dataset", "few", "--steps", 2, "--strength")
    strength = 1 + ["processes", "dask", "ray"].index(runner) / 4
    run = world.loco("--json", *ask, strength, *work).json[-1]
    assert (run["status"], run["counts"]["done"], run["counts"]["scores"]) == ("done", IMAGES, IMAGES)
    world.cleanly()


@pytest.mark.parametrize(
    ("text", "workers", "runner"),
    [
        ("local", None, Runner()),
        ("processes", None, Runner("processes", 2)),
        ("dask", 3, Runner("dask", 3)),
        ("dask:tcp://10.0.0.1:8786", 4, Runner("dask", 4, "tcp://10.0.0.1:8786")),
        ("ray:ray://head:10001", None, Runner("ray", 2, "ray://head:10001")),
    ],
)
def test_what_names_a_runner(text, workers, runner):
    assert Runner.parse(text, workers) == runner
    assert str(runner) == text


@pytest.mark.parametrize("text", ["", "threads", "local:x", "processes:4"])
def test_what_names_none(text):
    with pytest.raises(InputError, match="runner: expected local, processes"):
        Runner.parse(text)


def test_local_is_one_at_a_time():
    with pytest.raises(InputError, match="local works on one chunk at a time, found 2 workers"):
        Runner.parse("local", 2)


def test_an_integration_that_is_not_installed(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    from flows.orchestration.decorators import work_on

    job = DiscoverJob("m", "d", (), DiscoverRecipe(t=0.5), runner=Runner("dask", 2))
    with (
        pytest.raises(
            InputError, match=r"--runner dask needs prefect-dask: pip install 'loco-edit-service\[dask\]'"
        ),
        executor_of(job.runner, work_on, "discover"),
    ):
        pass


def test_a_chunk_on_workers_that_were_renewed_for_another_is_lost_and_no_bug():
    """Prefect's pool answers with an AttributeError where it is ended while it hands something out."""

    class Ended:
        def result(self):
            raise AttributeError("'NoneType' object has no attribute 'submit'")

    executor = SimpleNamespace(_on=object(), _dead=(BrokenExecutor,))
    out = _Out(executor, Ended())
    with pytest.raises(AttributeError):  # as long as its workers are the present ones, it is a bug
        out.result()
    executor._on = object()
    with pytest.raises(Lost, match="its workers were renewed"):
        out.result()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", ["processes", "dask", "ray"])
def test_across_a_dataset_the_same_bytes_as_in_this_process(world, few, runner, home):
    """Sums come from two workers in whatever order: the basis file is the same."""
    regions = ("--roi", "half=box:0,0,1,0.5")
    ask = ("--model", "tiny", "--dataset", "few", "--recipe", world.recipe, "--t", 0.5, *regions, "--across")
    [run] = world.loco("--json", "discover", *ask, "--runner", runner, "--workers", 2).json
    assert (run["status"], run["counts"]["done"]) == ("done", IMAGES)
    [basis] = {one.basis_id for one in Registry(world.home).find(dataset="few", scope="dataset")}
    here = Registry(home)
    here.add_model(Registry(world.home).model("tiny"))
    here.add_dataset(Registry(world.home).dataset("few"))
    from cli.discover_job import chosen_recipe, chosen_values

    values = chosen_values({"t": 0.5, "method": "constrained"}, world.recipe)
    recipe = chosen_recipe(values, here.model("tiny"))
    run_here(home, None, AcrossJob("tiny", "few", ("half=box:0,0,1,0.5",), recipe))
    assert home.basis(basis).read_bytes() == world.home.basis(basis).read_bytes()
    world.cleanly()
    world.home.basis(basis).unlink()  # for the next runner
    Registry(world.home).reindex()
