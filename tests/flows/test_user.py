"""A user's folder, by the command line, with the real Prefect server: from a model folder to edited images."""

import json

import numpy as np
import pytest
from PIL import Image

from loco.ids import file_id
from tests.flows.helpers import state

EYES = "eyes=box:0.2,0.3,0.8,0.55"


@pytest.fixture(scope="module")
def journey(world):
    """The user's commands, one after the other, by name."""
    discover = ("discover", "--model", "mine", "--dataset", "photos", "--recipe", world.recipe, "--limit", 3)
    discover = ("--json", *discover, "--roi", "mouth", "--roi", EYES)
    done = {
        "model": world.loco("--json", "model", "add", "mine", world.model),
        "dataset": world.loco("--json", "dataset", "add", "photos", world.photos),
        "discover": world.loco(*discover),
        "directions": world.loco("directions", "list", "--model", "mine", "--json"),
    }
    direction = next(one["id"] for one in done["directions"].json if one["roi"] == "mouth")
    out = world.folder / "edited"
    apply = (
        "--json",
        "apply",
        "--images",
        world.photos,
        "--direction",
        direction,
        "--out",
        out,
        "--steps",
        3,
    )
    apply = (*apply, "--strength", -4, "--strength", 4)
    done["apply"] = world.loco(*apply)
    before = state(*out.glob("*__*"), *world.home.bases.glob("*/*.safetensors"))
    done["discover again"], done["apply again"] = world.loco(*discover), world.loco(*apply)
    assert state(*before) == before
    done["jobs"] = world.loco("--json", "jobs", "list")
    done["verify"] = world.loco("registry", "verify")
    return done


def run(outcome):
    [record] = outcome.json
    return record["status"], {
        name: record["counts"][name] for name in ("planned", "done", "skipped", "failed")
    }


def test_model_and_dataset(journey, world):
    [model] = journey["model"].json
    assert (model["name"], model["source"], model["shape"]) == ("mine", str(world.model), [3, 32, 32])
    [dataset] = journey["dataset"].json
    assert dataset["rois"] == ["hair", "mouth"]


def test_discovery(journey):
    assert run(journey["discover"]) == ("done", {"planned": 3, "done": 3, "skipped": 0, "failed": 0})
    assert "Traceback" not in journey["discover"].err
    found = journey["directions"].json
    [record] = journey["discover"].json
    assert len(found) == record["counts"]["directions"]
    assert {one["roi"] for one in found} == {"mouth", "eyes"}
    assert all(one["singular_value"] > 0 and 0 < one["retained"] <= 1 for one in found)


def test_application(journey, world):
    assert run(journey["apply"]) == ("done", {"planned": 80, "done": 80, "skipped": 0, "failed": 0})
    assert "Traceback" not in journey["apply"].err
    outputs = sorted((world.folder / "edited").glob("*__*"))
    assert len(outputs) == 80
    sources = {path.stem: path for path in world.photos.iterdir() if path.is_file()}
    for path in outputs:
        with Image.open(path) as image, Image.open(sources[path.name.partition("__")[0]]) as source:
            assert image.size == source.size
            assert np.array(image).any()


def test_a_second_time_everything_is_there(journey):
    assert run(journey["discover again"]) == ("done", {"planned": 3, "done": 0, "skipped": 3, "failed": 0})
    assert run(journey["apply again"]) == ("done", {"planned": 80, "done": 0, "skipped": 80, "failed": 0})


def test_jobs_and_verify(journey):
    kinds = [(one["kind"], one["status"]) for one in journey["jobs"].json]
    assert kinds[:4] == [("apply", "done"), ("discover", "done"), ("apply", "done"), ("discover", "done")]
    assert journey["verify"].err.endswith("catalogue and files agree\n")


def test_the_runs_stand_in_prefect(journey, world):
    runs = [(one["name"], one["state"]["name"]) for one in world.asked("/flow_runs/filter")]
    assert runs.count(("photos x mine: mouth, eyes", "Completed")) >= 1  # the second had nothing to do
    assert runs.count((f"to {world.folder / 'edited'}", "Completed")) >= 1
    assert {"discover", "apply"} <= {one["name"] for one in world.asked("/flows/filter")}
    tasks = [(one["name"], one["state"]["name"]) for one in world.asked("/task_runs/filter")]
    assert ("face_00.png and on", "Completed") in tasks


def test_the_outputs_are_those_of_the_manifest(journey, world):
    lines = [
        json.loads(line) for line in (world.folder / "edited" / "manifest.jsonl").read_text().splitlines()
    ]
    assert len(lines) == 80
    assert all(file_id(world.folder / "edited" / line["output"]) == line["checksum"] for line in lines)


def test_an_error_is_one_line_and_a_proxy_is_passed_by(journey, world, monkeypatch):
    """Prefect keeps the traceback; the user, whose proxy knows nothing of this machine, is told what to do."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(world.environment, name, "http://127.0.0.1:9")
    moved = world.model.rename(world.folder / "moved")
    ask = ("discover", "--model", "mine", "--dataset", "photos", "--roi", "hair", "--limit", 1)
    outcome = world.loco(*ask, code=1)
    message = f"model folder {world.model} does not exist; name the folder of a diffusers pipeline"
    assert (outcome.out, outcome.err) == ("", f"error: {message}\n")
    moved.rename(world.model)
    states = [(one["name"], one["state"]["name"]) for one in world.asked("/flow_runs/filter")]
    assert ("photos x mine: hair", "Failed") in states
