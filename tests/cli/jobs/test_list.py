import time
from dataclasses import asdict, replace

from flows.engine.progress import Progress
from tests.registry.builders import make_run


def test_none(loco):
    outcome = loco("jobs", "list")
    assert outcome.out == ""
    assert outcome.err == "nothing was run yet; `loco discover` and `loco apply` do"


def test_the_latest_first(loco, registry):
    runs = [make_run(0, kind="discover"), make_run(1), make_run(2, status="running")]
    runs[2] = replace(
        runs[2],
        counts=dict.fromkeys(runs[2].counts, 0) | {"planned": 200},
        provenance=runs[2].provenance | {"schedule": "nightly"},
    )
    for run in runs:
        registry.start_run(run)
    # What the run's own process tells while it works: 40 in half a minute.
    progress = Progress(registry.home, runs[2].id, first=(time.monotonic() - 30, 0))
    progress.note(replace(runs[2], counts={"planned": 200, "done": 39, "skipped": 0, "failed": 1}))
    ids = [run.id[:12] for run in runs]
    shown = loco("jobs", "list").out.splitlines()
    assert shown == [
        "id            kind      status   items                     started      schedule",
        f"{ids[2]}  apply     running  40/200, 1 failed, ~2 min  11-21 10:00  nightly",
        f"{ids[1]}  apply     done     3/3                       11-21 10:00  -",
        f"{ids[0]}  discover  done     3/3                       11-21 10:00  -",
    ]
    assert max(map(len, shown)) <= 80
    assert len(loco("jobs", "list", "--kind", "apply").out.splitlines()) == 3
    [latest] = loco("jobs", "list", "--limit", 1, "--json").json
    assert (latest["counts"]["done"], round(latest.pop("left"), -1)) == (39, 120)
    assert latest == asdict(runs[2]) | {"prefect": None, "counts": latest["counts"]}
