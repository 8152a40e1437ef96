import json
from dataclasses import asdict

import pytest

from flows.jobs import DiscoverJob
from flows.schedules import worker
from flows.schedules.schedule import Schedule, _read, schedules_folder
from loco.errors import InputError, NewerFormat
from loco.recipes import DiscoverRecipe
from registry.files import checked


def put(home, name="nightly", **changes):
    job = DiscoverJob("faces", "portraits", ("hair", "mouth"), DiscoverRecipe(t=0.5))
    schedule = Schedule(name, job, **({"cron": "0 2 * * *", "created_at": "2026-11-21T10:00:00"} | changes))
    folder = schedules_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(asdict(schedule)))
    return schedule


def test_none(loco):
    outcome = loco("schedule", "list")
    assert (outcome.out, outcome.err) == ("", "nothing is scheduled yet; `loco schedule create` does")


def test_without_a_server(loco, home):
    schedule = put(home)
    put(home, "often", cron=None, every=60.0)
    assert loco("schedule", "list").out.splitlines() == [
        "name     when             next (UTC)  dataset    model  regions      overlap",
        "nightly  0 2 * * * (UTC)  -           portraits  faces  hair, mouth  queue",
        "often    every 60 s       -           portraits  faces  hair, mouth  queue",
    ]
    [first, _] = loco("--json", "schedule", "list").json
    assert first == json.loads(json.dumps(asdict(schedule))) | {"next": None, "kind": "discover"}


def test_a_damaged_file_is_named_and_the_others_are_listed(loco, home):
    put(home)
    put(home, "often", cron=None, every=60.0)
    path = schedules_folder(home) / "nightly.json"
    path.write_text("{}")
    outcome = loco("schedule", "list", code=3)
    assert outcome.err.startswith(f"error: schedule file {path} is damaged")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["name", "often"]
    assert [one["name"] for one in loco("--json", "schedule", "list", code=3).json] == ["often"]


def test_a_file_under_another_schedules_name_is_damaged(loco, home):
    put(home)
    folder = schedules_folder(home)
    (folder / "nightly.json").rename(folder / "weekly.json")
    err = loco("schedule", "list", code=3).err
    assert err.startswith(f"error: schedule file {folder / 'weekly.json'} is damaged: it describes 'nightly'")


def test_a_worker_runs_the_others_beside_a_bad_schedule(home, monkeypatch):
    for name in ("bad", "nightly", "odd", "weekly"):
        put(home, name)
    path = schedules_folder(home) / "bad.json"
    path.write_text("{}")
    published, said = [], []

    def publish(_, schedule):  # the server's part
        if schedule.name == "odd":
            raise InputError("no such time")
        published.append(schedule.name)

    monkeypatch.setattr(worker, "publish", publish)
    worker.publish_all(home, said.append)
    assert published == ["nightly", "weekly"]
    assert said[0].startswith(f"left out: schedule file {path} is damaged")
    assert said[1:] == ["left out: schedule odd: no such time"]


def test_a_schedule_of_a_newer_program_is_told_and_neither_removed_nor_replaced(loco, home):
    put(home)
    path = schedules_folder(home) / "nightly.json"
    text = json.dumps(json.loads(path.read_text()) | {"format": 2})
    path.write_text(text)
    told = f"error: schedule file {path} was written by a newer program: its format is 2, this program reads up to"
    assert loco("schedule", "list", code=3).err.startswith(told)
    assert loco("schedule", "remove", "nightly", code=1).err.startswith(told)
    with pytest.raises(NewerFormat):
        checked.kept(path, _read)
    assert path.read_text() == text
