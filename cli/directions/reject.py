"""`loco directions reject`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("reject", cls=Command)
@click.argument("direction_id", metavar="ID")
@click.option("--reason", metavar="TEXT", default="", help="Why, in your own words.")
@click.option("--who", metavar="NAME", help="Who says so; default: your user name.")
@pass_app
def reject(app: App, direction_id: str, reason: str, who: str | None) -> None:
    """Keep the direction ID out of lists from now on, until it is restored.

    Its files and figures stay as they are. Who said so, when and why stays in its history.
    """
    event = app.registry().reject(direction_id, reason, who=who)
    app.show(event, {"rejected": event.direction_id, "reason": event.text})
