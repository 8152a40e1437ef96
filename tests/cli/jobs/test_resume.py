import os
import platform
from dataclasses import asdict, replace

import pytest

from flows.engine.options import Runner
from flows.jobs import ApplyJob, DiscoverJob, ScoreJob, plain
from loco.recipes import DiscoverRecipe
from tests.registry.builders import make_run

JOB = DiscoverJob("faces", "portraits", ("hair",), DiscoverRecipe(t=0.5), 7, Runner("processes", 2), "1%")


def put(registry, status="failed", kind="discover", **provenance):
    run = make_run(kind=kind, status=status)
    run = replace(run, spec=asdict(JOB) | {"model_id": "x"}, provenance=provenance)
    registry.start_run(run)
    return run


@pytest.fixture
def flow(monkeypatch):
    asked = []

    def discover(home, url, job, watch, run_id):
        asked.append((job, run_id))
        return make_run(kind="discover")

    monkeypatch.setattr("flows.start.run", discover)
    return asked


def test_the_same_job_goes_on_under_its_id(loco, registry, flow):
    run = put(registry)
    loco("jobs", "resume", run.id[:8])
    assert flow == [(JOB, run.id)]


def test_one_that_was_killed(loco, registry, flow):
    run = put(registry, "running", host=platform.node(), pid=2**22 + 1)
    assert loco("jobs", "show", run.id).out.splitlines()[2].split() == ["status", "interrupted"]
    loco("jobs", "resume", run.id)
    assert flow[0][1] == run.id


def test_one_that_works(loco, registry, flow):
    run = put(registry, "running", host=platform.node(), pid=os.getpid())
    assert loco("jobs", "resume", run.id, code=2).err.startswith(f"error: run {run.id[:12]} works already")
    assert flow == []


def test_one_of_another_kind(loco, registry, flow):
    """An application and scores go on as well."""
    for job in (
        ApplyJob((("a" * 12, 1.0),), (2.0,), "/out", images="/images"),
        ScoreJob(("b" * 12,), "photos"),
    ):
        run = replace(
            make_run(kind=job.kind, status="failed", number=len(flow)), spec=plain(job) | {"model_id": "x"}
        )
        registry.start_run(run)
        loco("jobs", "resume", run.id)
        assert flow[-1] == (job, run.id)
