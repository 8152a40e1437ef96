"""One part of a discovery, an application and a scoring, in a process of its own and without Prefect.

python -m tests.flows.part HOME OUT DIRECTION [I/N]
"""

import sys
from pathlib import Path

from flows.engine.options import Shard
from flows.jobs import ApplyJob, DiscoverJob, ScoreJob
from flows.start import run_here
from registry.home import Home
from tests.flows.helpers import RECIPE


def main(home, out, direction, part=None):
    shard = None if part is None else Shard.parse(part)
    pushed = ((direction, 1.0),)
    for job in (
        DiscoverJob("tiny", "photos", ("lower=box:0,0.5,1,1",), RECIPE, shard=shard),
        ApplyJob(pushed, (-2.0, 2.0), Path(out), dataset="photos", steps=2, beyond=True, shard=shard),
        ScoreJob((direction,), "photos", 2.0, 2, shard=shard),
    ):
        run = run_here(Home(Path(home)), None, job)
        assert run.status == "done", run


if __name__ == "__main__":
    main(*sys.argv[1:])
