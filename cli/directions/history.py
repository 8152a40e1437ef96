"""`loco directions history`."""

import click

from cli.app import App, Column
from cli.options import Command, pass_app


@click.command("history", cls=Command)
@click.argument("direction_id", metavar="[ID]", required=False)
@pass_app
def history(app: App, direction_id: str | None) -> None:
    """Show who labelled, named, rejected or restored directions (or the direction ID), and when."""
    from loco.ids import SHORT

    events = app.registry().history(direction_id)
    app.table(
        events,
        (
            Column("time (UTC)", lambda one: one.at[:19]),
            Column("who", lambda one: one.who + (" (scorer)" if one.author_kind == "scorer" else "")),
            Column("what", lambda one: one.action),
            Column("text", lambda one: one.text),
            Column("direction", lambda one: one.direction_id[:SHORT], whole=True),
        ),
    )
    if not events:
        app.say("nothing was said yet; `loco directions label` does")
