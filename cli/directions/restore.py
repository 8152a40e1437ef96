"""`loco directions restore`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("restore", cls=Command)
@click.argument("direction_id", metavar="ID")
@click.option("--reason", metavar="TEXT", default="", help="Why, in your own words.")
@click.option("--who", metavar="NAME", help="Who says so; default: your user name.")
@pass_app
def restore(app: App, direction_id: str, reason: str, who: str | None) -> None:
    """Let the rejected direction ID be found again.

    Its files and figures stay as they are. Who said so, when and why stays in its history.
    """
    event = app.registry().restore(direction_id, reason, who=who)
    app.show(event, {"restored": event.direction_id, "reason": event.text})
