from dataclasses import asdict

from tests.registry.builders import make_run


def test_none(loco):
    outcome = loco("jobs", "list")
    assert outcome.out == ""
    assert outcome.err == "nothing was run yet; `loco discover` and `loco apply` do"


def test_the_latest_first(loco, registry):
    runs = [make_run(0, kind="discover"), make_run(1), make_run(2, status="running")]
    for run in runs:
        registry.start_run(run)
    ids = [run.id[:12] for run in runs]
    assert loco("jobs", "list").out.splitlines() == [
        "id            kind      status   items              started              finished",
        f"{ids[2]}  apply     running  planned 3, done 3  2026-11-21T10:00:02  -",
        f"{ids[1]}  apply     done     planned 3, done 3  2026-11-21T10:00:01  2026-11-21T11:00:00",
        f"{ids[0]}  discover  done     planned 3, done 3  2026-11-21T10:00:00  2026-11-21T11:00:00",
    ]
    assert len(loco("jobs", "list", "--kind", "apply").out.splitlines()) == 3
    [latest] = loco("jobs", "list", "--limit", 1, "--json").json
    assert latest == asdict(runs[2]) | {"prefect": None}
