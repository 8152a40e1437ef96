"""`loco directions alias`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("alias", cls=Command)
@click.argument("name", metavar="NAME@LABEL")
@click.argument("direction_id", metavar="[ID]", required=False)
@click.option("--remove", is_flag=True, help="Let it mean nothing from now on.")
@click.option("--who", metavar="NAME", help="Who says so; default: your user name.")
@pass_app
def alias(app: App, name: str, direction_id: str | None, remove: bool, who: str | None) -> None:
    """Let NAME@LABEL, such as smile@prod, mean the direction ID from now on.

    An alias can stand anywhere an id can. It means one direction at a time; what it meant before stays in
    the history.
    """
    if remove == (direction_id is not None):
        raise click.UsageError("give either an ID or --remove")
    registry = app.registry()
    event = (
        registry.unalias(name, who=who)
        if direction_id is None
        else registry.alias(name, direction_id, who=who)
    )
    app.show(event, {"without" if remove else "alias": event.text, "id": event.direction_id})
