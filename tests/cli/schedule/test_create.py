import pytest

from loco.recipes import DiscoverRecipe

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
        "flows.orchestration.schedule.create", lambda home, schedule: found.append(schedule) or schedule
    )
    return found


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
    assert outcome.out.splitlines() == [
        "name     nightly",
        "when     0 2 * * * (UTC)",
        "overlap  skip",
        "model    faces",
        "dataset  portraits",
        "regions  hair=box:0,0,1,1",
        "t        0.6",
        "runner   processes, 2 at a time",
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


def test_a_password_is_not_stored(loco, filled, home):
    from flows.jobs import DiscoverJob
    from flows.orchestration.schedule import Schedule, create
    from loco.errors import InputError

    job = DiscoverJob("m", "d", ("all=box:0,0,1,1",), DiscoverRecipe(t=0.5))
    with pytest.raises(InputError, match="leave the password out"):
        create(home, Schedule("s", job, "* * * * *", registry="postgresql+psycopg://me:secret@host/db"))
    assert not (home.root / "schedules").exists()
