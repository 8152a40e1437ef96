"""`loco schedule remove`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("remove", cls=Command)
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Remove the schedule NAME. A run of it that works now goes on; what was found stays."""
    from flows.schedules.schedule import remove as forget

    forget(app.home, name)
    app.show({"removed": name}, {"removed": name})
