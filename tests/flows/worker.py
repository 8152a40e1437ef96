"""Bulk application in a process of its own, without Prefect: to be killed, or to tell how much memory it took.

python -m tests.flows.worker HOME OUT IMAGES DIRECTION STEPS [FORMAT [I/N]]
"""

import json
import resource
import sys
from pathlib import Path

from flows.engine.options import Shard
from flows.jobs import ApplyJob
from flows.start import run_here
from registry.home import Home


def main(home, out, images, direction, steps, format="png", shard=None):
    job = ApplyJob(
        ((direction, 1.0),),
        (-2.0, 2.0),
        Path(out),
        images=images,
        steps=int(steps),
        format=format,
        shard=None if shard is None else Shard.parse(shard),
        min_effect=0.0,
        beyond=True,
    )
    run = run_here(Home(Path(home)), None, job)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"status": run.status, "counts": run.counts, "peak_kib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
