import os
import platform
from dataclasses import replace

import pytest

from flows.engine.record import asked_to_stop
from flows.jobs import ApplyJob, ScoreJob, plain
from tests.cli.jobs.test_resume import JOB, flow, put
from tests.registry.builders import make_run

__all__ = ["flow"]


def test_a_run_that_works_is_told_to_stop(loco, registry, home):
    run = put(registry, "running", host=platform.node(), pid=os.getpid())
    outcome = loco("jobs", "cancel", run.id[:8])
    assert outcome.out.splitlines() == [f"run     {run.id}", "status  cancelling"]
    assert asked_to_stop(home, run.id) == ("cancelled", "cancelled by `loco jobs cancel`")


def test_one_that_is_over(loco, registry):
    run = put(registry, "done")
    message = f"error: run {run.id[:12]} is done; only a run that works can be cancelled"
    assert loco("jobs", "cancel", run.id, code=2).err == message


@pytest.mark.parametrize(
    "job",
    [JOB, ApplyJob((("a" * 12, 1.0),), (2.0,), "/out", images="/images"), ScoreJob(("b" * 12,), "photos")],
    ids=["discover", "apply", "score"],
)
def test_resume_goes_on_with_a_cancelled_run_of_every_kind_as_the_help_says(loco, registry, flow, job):
    assert "`loco jobs resume ID` goes on" in loco("jobs", "cancel", "--help").out
    run = replace(make_run(kind=job.kind, status="cancelled"), spec=plain(job) | {"model_id": "x"})
    registry.start_run(run)
    loco("jobs", "resume", run.id)
    assert flow == [(job, run.id)]
