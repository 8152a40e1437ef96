"""`loco schedule list`."""

from dataclasses import asdict

import click

from cli.app import App, Column
from cli.options import Command, pass_app


@click.command("list", cls=Command)
@pass_app
def list_schedules(app: App) -> None:
    """List the schedules and when each runs next, as far as a running server tells."""
    from flows.orchestration.schedule import listed, next_runs

    schedules = listed(app.home)
    due = next_runs(app.home) if schedules else {}
    if app.json:
        app.table([{**asdict(one), "next": due.get(one.name)} for one in schedules], ())
    else:
        app.table(
            schedules,
            (
                Column("name", lambda one: one.name, whole=True),
                Column("when", lambda one: one.when),
                Column("next (UTC)", lambda one: due.get(one.name)),
                Column("dataset", lambda one: one.job.dataset),
                Column("model", lambda one: one.job.model),
                Column("regions", lambda one: one.job.rois),
                Column("overlap", lambda one: one.overlap),
            ),
        )
    if not schedules:
        app.say("nothing is scheduled yet; `loco schedule create` does")
