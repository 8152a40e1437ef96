"""`loco directions label`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("label", cls=Command)
@click.argument("direction_id", metavar="ID")
@click.argument("text", metavar="TEXT")
@click.option("--remove", is_flag=True, help="Take the label away.")
@click.option("--who", metavar="NAME", help="Who says so; default: your user name.")
@pass_app
def label(app: App, direction_id: str, text: str, remove: bool, who: str | None) -> None:
    """Give the direction ID the label TEXT, in words of your own.

    A direction can have any number of labels. Who said what and when stays in its history.
    """
    event = app.registry().label(direction_id, text, remove=remove, who=who)
    app.show(event, {"id": event.direction_id, "without" if remove else "label": event.text})
