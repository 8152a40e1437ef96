"""`loco schedule list`."""

import click

from cli.app import PARTIAL, App, Column
from cli.options import Command, pass_app
from cli.schedule.facts import asked_for


@click.command("list", cls=Command)
@pass_app
def list_schedules(app: App) -> None:
    """List the schedules and when each runs next, as far as a running server tells.

    A file that says no schedule is named, and the others are listed: exit code 3.
    """
    from flows.schedules.schedule import as_data, listed, next_runs

    schedules, unread = listed(app.home)
    kinds = {one.job.kind for one in schedules}
    due = next_runs(app.home) if schedules else {}
    if app.json:
        app.table([{**as_data(one), "next": due.get(one.name)} for one in schedules], ())
    else:
        app.table(
            schedules,
            (
                Column("name", lambda one: one.name, whole=True),
                Column("when", lambda one: one.when),
                Column("next (UTC)", lambda one: due.get(one.name)),
                *([Column("kind", lambda one: one.job.kind)] if kinds != {"discover"} else []),
                Column(
                    "dataset", lambda one: asked_for(one.job).get("dataset") or asked_for(one.job)["images"]
                ),
                Column("model", lambda one: asked_for(one.job).get("model")),
                Column("regions", lambda one: asked_for(one.job).get("regions")),
                Column("overlap", lambda one: one.overlap),
            ),
        )
    for error in unread:
        app.say(f"error: {error}")
    if unread:
        click.get_current_context().exit(PARTIAL)
    if not schedules:
        app.say("nothing is scheduled yet; `loco schedule create` does")
