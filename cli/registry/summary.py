"""`loco registry summary`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("summary", cls=Command)
@pass_app
def summary(app: App) -> None:
    """Count what the catalogue holds."""
    counts = app.registry().summary()
    app.show(counts, counts)
