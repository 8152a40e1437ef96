"""`loco schedule create`."""

from typing import Any

import click

from cli.app import App
from cli.discover_job import discover_job, discover_options
from cli.options import Command, Real, pass_app
from cli.schedule.facts import facts


@click.command("create", cls=Command)
@click.argument("name")
@click.option("--cron", metavar="CRON", help='When: five fields such as "0 2 * * *".')
@click.option(
    "--every", type=Real(1, 10 * 366 * 86400), metavar="S", help="When: every S seconds, instead of --cron."
)
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Time zone of --cron.")
@click.option(
    "--overlap",
    type=click.Choice(["queue", "skip"]),
    default="queue",
    show_default=True,
    help="When a run is due while the last one works: wait for it, or leave it out.",
)
@discover_options
@click.option(
    "--rescan/--no-rescan",
    default=True,
    show_default=True,
    help="Look first, at each run, for images that are new in the dataset's folder.",
)
@pass_app
def create(
    app: App, /, name: str, cron: str | None, every: float | None, timezone: str, overlap: str, **options: Any
) -> None:
    """Discover on a clock, under NAME, in place of any schedule of that name.

    Each run works on what is new in the dataset's folder: what was found is skipped. `loco worker` does it.

    \b
    loco schedule create nightly --cron "0 2 * * *" --model faces --dataset portraits --roi hair
    """
    job = discover_job(app, **options)
    from flows.kinds import job_of
    from flows.orchestration.schedule import Schedule, as_data, next_run
    from flows.orchestration.schedule import create as make

    job_of(app.home, app.url, job).check()
    schedule = make(app.home, Schedule(name, job, cron, every, timezone, overlap, app.url))
    due = next_run(schedule)
    app.show({**as_data(schedule), "next": due}, {**facts(schedule), "next (UTC)": due})
    if schedule.registry != app.url:
        app.say(
            "the catalogue's password is not kept: give it to `loco worker` in LOCO_REGISTRY, or put it into ~/.pgpass"
        )
