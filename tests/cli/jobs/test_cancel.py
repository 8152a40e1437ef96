import os
import platform

from flows.engine.record import asked_to_stop
from tests.cli.jobs.test_resume import put


def test_a_run_that_works_is_told_to_stop(loco, registry, home):
    run = put(registry, "running", host=platform.node(), pid=os.getpid())
    outcome = loco("jobs", "cancel", run.id[:8])
    assert outcome.out.splitlines() == [f"run     {run.id}", "status  cancelling"]
    assert asked_to_stop(home, run.id) == ("cancelled", "cancelled by `loco jobs cancel`")


def test_one_that_is_over(loco, registry):
    run = put(registry, "done")
    message = f"error: run {run.id[:12]} is done; only a run that works can be cancelled"
    assert loco("jobs", "cancel", run.id, code=2).err == message
