"""Killed in the middle, and two at once: nothing finished is lost or done again. Real command line, real Prefect."""

import json
import os
import signal

import pytest

from flows.register import dataset_record
from flows.server.server import server_status
from registry.registry import Registry
from tests.flows.helpers import discovered, leftovers, state, wait_for


@pytest.fixture(scope="module")
def faces(world):
    """The forty faces, registered under another name, with the tiny model's quick answers."""
    Registry(world.home).add_dataset(dataset_record("faces", world.photos))
    return (
        "--json",
        "discover",
        "--model",
        "tiny",
        "--dataset",
        "faces",
        "--recipe",
        world.recipe,
        "--t",
        0.5,
    )


def bases(world):
    return set(world.home.bases.glob("*/*.safetensors"))


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def counts(outcome):
    record = outcome.json[-1]
    return record["status"], *(record["counts"][name] for name in ("planned", "done", "skipped", "failed"))


def test_discover_killed_in_the_middle(world, faces):
    known = bases(world)
    ask = (*faces, "--roi", "hair=box:0,0,1,0.5", "--limit", 20)
    process = world.start(*ask)
    wait_for(lambda: bases(world) - known)
    kill(process)
    finished = bases(world) - known
    before = state(*finished)
    assert 0 < len(finished) < 20
    pid = server_status(world.home).pid
    assert counts(world.loco(*ask)) == ("done", 20, 20 - len(finished), len(finished), 0)
    assert state(*finished) == before
    assert server_status(world.home).pid == pid
    assert len(Registry(world.home).find(dataset="faces", model="tiny", roi="hair")) == 20
    world.cleanly()


def test_apply_killed_in_the_middle(world, faces):
    discovered(world.home, dataset="faces", rois=("all=box:0,0,1,1",), limit=1)
    direction = Registry(world.home).find(model="tiny", roi="all")[0].id
    out = world.folder / "killed"
    ask = ("--json", "apply", "--direction", direction, "--dataset", "faces", "--out", out, "--steps", 3)
    ask = (*ask, *(word for number in range(1, 9) for word in ("--strength", number)))
    process = world.start(*ask)
    manifest = out / "manifest.jsonl"
    wait_for(lambda: manifest.is_file() and manifest.read_bytes().count(b"\n") > 3)
    kill(process)
    lines = [
        json.loads(line) for line in manifest.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    finished = [out / line["output"] for line in lines]
    before = state(*finished)
    assert 0 < len(finished) < 320
    assert counts(world.loco(*ask)) == ("done", 320, 320 - len(finished), len(finished), 0)
    assert state(*finished) == before
    assert leftovers(out) == []
    outputs = {str(path) for path in out.glob("*__*")}
    assert len(outputs) == 320
    edits = [one for one in Registry(world.home).edits() if one.output.startswith(f"{out}/")]
    assert {one.output for one in edits} == outputs
    world.cleanly()
    statuses = {one.status for one in Registry(world.home).runs()}
    assert statuses >= {"done", "interrupted"}  # said by the next run: a killed one has no time to


def test_two_at_once(world, faces):
    known = bases(world)
    ask = (*faces, "--roi", "low=box:0,0.5,1,1", "--limit", 16)
    both = [world.start(*ask) for _ in range(2)]
    outcomes = [world.finish(process) for process in both]
    for outcome in outcomes:
        status, planned, done, skipped, failed = counts(outcome)
        assert (status, planned, done + skipped, failed) == ("done", 16, 16, 0)
    assert len(bases(world) - known) == 16
    assert len(Registry(world.home).find(model="tiny", roi="low")) == 16
    world.cleanly()
