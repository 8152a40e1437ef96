"""`loco model show`."""

import click

from cli.app import App
from cli.model.facts import facts
from cli.options import Command, pass_app


@click.command("show", cls=Command)
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """Show all that is known of the model NAME."""
    record = app.registry().model(name)
    app.show(record, facts(record))
