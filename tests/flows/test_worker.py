"""What a worker takes up again: a schedule's latest run, where it was cut short, a few times."""

from dataclasses import replace

import pytest

from flows.engine.record import abandon, new_run
from flows.schedules import worker
from tests.cli.schedule.test_list import put


@pytest.fixture
def taken(home, registry, monkeypatch):
    """Runs that a worker was asked to go on with."""
    put(home, "nightly")
    found = []
    monkeypatch.setattr(worker, "run_now", lambda home, name, run_id: found.append((name, run_id)))
    return found


def cut_short(registry, started, status="running", **provenance):
    run = new_run("discover", {}, 3)
    run.provenance.update({"schedule": "nightly", "pid": 2**22 + 1} | provenance)
    run = replace(run, started_at=started, status=status)
    registry.start_run(run)
    return run


def test_the_latest_run_that_was_killed_and_only_once(home, registry, taken):
    cut_short(registry, "2026-11-21T02:00:00")
    latest = cut_short(registry, "2026-11-22T02:00:00")
    seen = set()
    assert worker.revive(home, None, seen) == [latest.id]
    assert worker.revive(home, None, seen) == []
    assert taken == [("nightly", latest.id)]


@pytest.mark.parametrize(
    "run",
    [
        {"status": "done"},
        {"status": "failed"},
        {"status": "cancelled"},
        {"schedule": "removed"},
        {"attempt": 5},
    ],
)
def test_what_is_left_alone(home, registry, taken, run):
    cut_short(registry, "2026-11-21T02:00:00")
    cut_short(registry, "2026-11-22T02:00:00", **({"status": "interrupted"} | run))
    revived = worker.revive(home, None, set())
    assert revived == taken == [] or run == {"schedule": "removed"}


def test_a_run_that_was_told_to_end_did_not_fail(registry):
    for error, status in ((KeyboardInterrupt, "interrupted"), (KeyError, "failed")):
        run = new_run("discover", {}, 3)
        registry.start_run(run)
        try:
            raise error
        except (KeyboardInterrupt, KeyError):
            abandon(registry, run)
        assert registry.run(run.id).status == status
