"""A schedule made by the command line, a real server and a real worker: what fires, what it leaves, what survives."""

import json
import os
import signal

import pytest

from flows.orchestration.overlap import only_run
from flows.register import dataset_record
from registry.registry import Registry
from tests.flows.helpers import picture, save, wait_for

EVERY = 8


@pytest.fixture(scope="module")
def nightly(world):
    """A dataset of four images and a schedule of it that is due in a moment, again and again."""
    folder = world.folder / "nightly"
    for number in range(4):
        save(folder / f"{number}.png", picture(100 + number))
    (folder / "broken.png").write_bytes(b"no image")
    Registry(world.home).add_dataset(dataset_record("nightly", folder))
    ask = (
        "--model",
        "tiny",
        "--dataset",
        "nightly",
        "--roi",
        "all=box:0,0,1,1",
        "--recipe",
        world.recipe,
        "--t",
        0.5,
    )
    [made] = world.loco("--json", "schedule", "create", "often", "--every", EVERY, *ask).json
    assert made["name"] == "often"
    return folder


def scheduled(world):
    """The schedule's runs, the first first."""
    runs = [one for one in Registry(world.home).runs("discover") if one.provenance.get("schedule") == "often"]
    return runs[::-1]


def over(world, count):
    runs = scheduled(world)[:count]
    return runs if len(runs) == count and all(one.status not in ("running",) for one in runs) else None


def numbers(run):
    return run.status, *(run.counts[name] for name in ("planned", "done", "skipped", "failed"))


def test_it_fires_and_the_catalogue_grows_and_then_nothing_is_new(world, nightly):
    planted = plant(world)
    worker = world.start("worker")
    try:
        [first] = wait_for(lambda: over(world, 1), 120)
        assert numbers(first) == ("done", 4, 4, 0, 0)
        assert len(Registry(world.home).find(dataset="nightly")) == 4
        [_, second] = wait_for(lambda: over(world, 2), 120)
        assert numbers(second) == ("done", 4, 0, 4, 0)
        assert second.counts["evaluations"] == 0
        seen_in_prefect(world, first)
        [row] = [one for one in world.loco("--json", "schedule", "list").json if one["name"] == "often"]
        assert row["next"]
    finally:
        os.kill(worker.pid, signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
    assert worker.returncode == 130, out + err
    told(world, planted, err)
    assert world.loco("schedule", "remove", "often").out == "removed  often\n"
    world.cleanly()


def plant(world):
    """Flow runs in the worker's pool that no schedule of the home has: each would make a file."""
    command = {"command": f"touch {world.folder / 'planted'}"}
    with world.server() as api:
        flow = api.post("/flows/", json={"name": "discover"}).raise_for_status().json()["id"]
        own = api.get("/deployments/name/discover/often").raise_for_status().json()
        pool = {"flow_id": flow, "work_pool_name": "loco", "enforce_parameter_schema": False}
        script = world.folder / "planted.py"
        script.write_text(f"import pathlib; pathlib.Path({str(world.folder / 'planted')!r}).touch()")
        asked = [
            {"name": "stranger", "job_variables": command},
            {"name": "code", "entrypoint": f"{script}:flow"},
        ]
        ids = [api.post("/deployments/", json=pool | one).raise_for_status().json()["id"] for one in asked]
        due = {"state": {"type": "SCHEDULED"}}
        runs = [api.post(f"/deployments/{one}/create_flow_run", json=due) for one in ids]
        for more in ({"job_variables": command}, {"parameters": {"home": str(world.folder / "planted")}}):
            runs.append(api.post(f"/deployments/{own['id']}/create_flow_run", json=due | more))
        return [run.raise_for_status().json()["id"] for run in runs]


def told(world, planted, err):
    """The worker ran none of them and said so, and one line for each run of the schedule; nothing of the secret."""
    assert not (world.folder / "planted").exists()
    with world.server() as api:
        states = [api.get(f"/flow_runs/{one}").json()["state"] for one in planted]
    assert {one["type"] for one in states} == {"CANCELLED"}
    assert [one["message"].split(";")[0] for one in states] == [
        "refused: it belongs to no schedule of this home: no schedule is called 'stranger'",
        "refused: it belongs to no schedule of this home: no schedule is called 'code'",
        "refused: it names a command or an environment of its own",
        "refused: its parameters are not those of the schedule",
    ]
    lines = err.splitlines()
    assert len([line for line in lines if line.startswith("refused flow run")]) == len(planted)
    assert len([line for line in lines if line.startswith("often: Completed: planned 4, done")]) >= 2
    assert "Traceback" not in err


def seen_in_prefect(world, run):
    """The run's flow run, with the artifacts that people look at."""
    with world.server() as api:
        flow_run = api.get(f"/flow_runs/{run.provenance['flow_run']}").json()
        assert (flow_run["name"], flow_run["state"]["name"]) == ("nightly x tiny: all", "Completed")
        assert {"dataset:nightly", "model:tiny", "schedule:often"} <= set(flow_run["tags"])
        asked = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
        artifacts = {
            one["key"].split("-")[0]: one for one in api.post("/artifacts/filter", json=asked).json()
        }
    assert set(artifacts) == {"progress", "manifest", "counts", "failures", "newest"}
    assert artifacts["progress"]["data"] == 100.0
    counts = {row["what"]: row["how many"] for row in json.loads(artifacts["counts"]["data"])}
    assert counts == run.counts
    [failure] = json.loads(artifacts["failures"]["data"])
    assert failure["image"] == "broken.png"
    assert "not an image" in failure["cause"]
    assert artifacts["newest"]["data"].startswith("data:image/png;base64,")
    [row] = [one for one in world.loco("--json", "jobs", "list").json if one["id"] == run.id]
    assert (row["status"], row["prefect"]) == ("done", "Completed")


def test_one_run_of_a_schedule_at_a_time(home):
    with only_run(home, "s", wait=False) as first, only_run(home, "s", wait=False) as second:
        assert (first, second) == (True, False)
        with only_run(home, "other", wait=False) as another, only_run(home, None, wait=False) as alone:
            assert (another, alone) == (True, True)
    with only_run(home, "s", wait=True) as later:
        assert later
