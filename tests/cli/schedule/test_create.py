import re
from dataclasses import replace

import pytest

from loco.errors import InputError
from loco.recipes import DiscoverRecipe
from registry.registry import Registry
from tests.registry.builders import make_model

ASK = (
    "schedule",
    "create",
    "nightly",
    "--model",
    "faces",
    "--dataset",
    "portraits",
    "--roi",
    "hair=box:0,0,1,1",
)


@pytest.fixture
def made(filled, monkeypatch):
    """What the flow was asked to make; no server is started."""
    found = []
    monkeypatch.setattr(
        "flows.schedules.schedule.create", lambda home, schedule: found.append(schedule) or schedule
    )
    return found


def test_a_level_said_by_signal_and_noise_is_kept_as_the_models_t(loco, made, filled):
    filled.add_model(make_model(source="zoo:faces32"))
    loco(*ASK, "--cron", "0 2 * * *", "--t", "abar:0.646")
    assert made[0].job.recipe == DiscoverRecipe(t=0.4)


def test_what_is_made(loco, made):
    outcome = loco(
        *ASK, "--cron", "0 2 * * *", "--overlap", "skip", "--max-failures", "1%", "--runner", "processes"
    )
    [schedule] = made
    assert (schedule.name, schedule.cron, schedule.every, schedule.overlap) == (
        "nightly",
        "0 2 * * *",
        None,
        "skip",
    )
    job = schedule.job
    assert (job.model, job.dataset, job.max_failures, job.rescan) == ("faces", "portraits", "1%", True)
    assert job.recipe == DiscoverRecipe(t=0.6)
    *lines, due = outcome.out.splitlines()
    assert re.fullmatch(r"next \(UTC\)  \d{4}-\d\d-\d\dT02:00:00", due)
    assert [re.sub(" {2,}", "  ", line) for line in lines] == [
        "name  nightly",
        "when  0 2 * * * (UTC)",
        "overlap  skip",
        "model  faces",
        "dataset  portraits",
        "regions  hair=box:0,0,1,1",
        "t  0.6",
        "runner  processes, 2 at a time",
    ]


def test_every_so_many_seconds_without_a_look_for_new_images(loco, made):
    loco(*ASK, "--every", 60, "--no-rescan")
    assert (made[0].when, made[0].job.rescan) == ("every 60 s", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), 'error: schedule: say when with either --cron "0 2 * * *" or --every SECONDS'),
        (("--cron", "* * * * *", "--every", "5"), "error: schedule: say when with either --cron"),
        (("--every", "60", "--runner", "magic"), "error: runner: expected local, processes, dask[:ADDRESS]"),
        (("--every", "60", "--max-failures", "x"), "error: max-failures: expected a number such as 20"),
        (("--every", "60", "--roi", "nose"), "error: dataset 'portraits' has no ROI 'nose'"),
    ],
)
def test_wrong_usage(loco, filled, words, message):
    assert loco(*ASK, *words, code=2).err.startswith(message)


def schedule(**changes):
    from flows.jobs import DiscoverJob
    from flows.schedules.schedule import Schedule

    job = DiscoverJob("m", "d", ("all=box:0,0,1,1",), DiscoverRecipe(t=0.5))
    return Schedule(**({"name": "s", "job": job, "cron": "* * * * *"} | changes))


def test_a_password_is_left_out_and_said_to_be(loco, made, monkeypatch):
    from flows.orchestration.credentials import public

    monkeypatch.setattr(
        "flows.schedules.schedule.create",
        lambda home, schedule: replace(schedule, registry=public(schedule.registry)),
    )
    monkeypatch.setattr("flows.engine.record.catalogue", lambda home, url: Registry(home))
    monkeypatch.setattr("flows.discover.job.catalogue", lambda home, url: Registry(home))
    monkeypatch.setattr("flows.discover.job.Discovery.check", lambda job: None)
    url = "postgresql+psycopg://me:canary@127.0.0.1:1/db"
    outcome = loco(*ASK, "--every", 60, "--registry", url)
    assert "canary" not in outcome.out + outcome.err
    assert "the catalogue's password is not kept: give it to `loco worker` in LOCO_REGISTRY" in outcome.err


def test_credentials_in_the_urls_of_a_job_are_refused(home):
    from flows.schedules.schedule import create

    job = replace(schedule().job, dataset="https://host/a?token=canary")
    with pytest.raises(InputError, match="a URL with credentials would be stored in plain text"):
        create(home, schedule(job=job))
    assert not (home.root / "schedules").exists()


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_a_time_that_never_comes_is_refused(home, cron):
    from flows.schedules.schedule import create

    with pytest.raises(InputError, match="never comes"):
        create(home, schedule(cron=cron))
    assert not home.root.exists()


@pytest.mark.parametrize(
    "cron", ["* * * * * *", "0 0 0 1 1 * 2030", "* * * *", "", "61 * * * *", "x y z a b"]
)
def test_other_than_five_fields_is_refused(home, cron):
    from flows.schedules.schedule import create

    with pytest.raises(InputError, match="expected five cron fields"):
        create(home, schedule(cron=cron))
    assert not home.root.exists()


@pytest.mark.parametrize("zone", ["", "Europe", "Nowhere/City", "/etc/passwd", "../UTC", "x" * 300])
def test_a_time_zone_that_is_none_is_refused(home, zone):
    from flows.schedules.schedule import create

    with pytest.raises(InputError) as refused:
        create(home, schedule(cron="0 2 * * *", timezone=zone))
    assert str(refused.value) == (
        f'schedule: expected five cron fields such as "0 2 * * *" and a time zone such as Europe/Berlin, found '
        f"'0 2 * * *' in {zone!r}"
    )
    assert not home.root.exists()


def test_a_time_zone_without_a_cron_is_refused(loco, made):
    for zone in ("Europe/Berlin", "UTC"):
        refused = loco(*ASK, "--every", 60, "--timezone", zone, code=2)
        assert "--timezone is of --cron, --every knows none; leave one of them out" in refused.err
    assert made == []


def test_the_next_run_is_in_the_schedules_zone():
    from flows.schedules.schedule import next_run

    assert next_run(schedule(cron="30 4 29 2 *")).endswith("-02-29T04:30:00")
    assert next_run(schedule(cron="0 2 1 7 *", timezone="Europe/Berlin")).endswith("-07-01T00:00:00")


APPLY = ("schedule", "create", "edits", "--every", 3600, "--direction", "aaaaaa:4", "--out", "edited")


def test_an_application_on_a_clock(loco, made, monkeypatch, tmp_path):
    """ "Edit what is new in this folder every night": the folders are whole paths, whoever works."""
    monkeypatch.setattr("flows.apply.job.Application.check", lambda job: None)
    monkeypatch.chdir(tmp_path)
    outcome = loco(*APPLY, "--images", "inbox", "--steps", 5, "--max-failures", "5%", "--runner", "processes")
    [schedule] = made
    job = schedule.job
    assert (job.kind, str(job.images), str(job.out)) == (
        "apply",
        str(tmp_path / "inbox"),
        str(tmp_path / "edited"),
    )
    assert (job.directions, job.strengths, job.steps, job.max_failures) == (
        (("aaaaaa", 1.0),),
        (4.0,),
        5,
        "5%",
    )
    assert outcome.out.splitlines()[3:6] == [
        f"images      {tmp_path / 'inbox'}",
        "directions  aaaaaa:1",
        f"out         {tmp_path / 'edited'}",
    ]


@pytest.mark.parametrize(("said", "steps"), [((), None), (("--steps", "auto"), None), (("--steps", "7"), 7)])
def test_an_application_on_a_clock_measures_its_steps_unless_it_is_told_them(
    loco, made, monkeypatch, said, steps
):
    monkeypatch.setattr("flows.apply.job.Application.check", lambda job: None)
    loco(*APPLY, "--images", "inbox", *said)
    assert made[0].job.steps == steps


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*ASK, "--every", 60, "--steps", "auto"),
            "--steps auto does not go with this: without --out it discovers",
        ),
        ((*APPLY, "--images", "x", "--roi", "hair"), "--roi does not go with this: with --out it applies"),
        (
            (*ASK, "--every", 60, "--strength", 2),
            "--strength does not go with this: without --out it discovers",
        ),
        (
            ("schedule", "create", "s", "--every", 60),
            "Missing option '--model'; or give --out and --direction",
        ),
    ],
)
def test_options_of_the_other_kind(loco, filled, words, message):
    assert message in loco(*words, code=2).err
