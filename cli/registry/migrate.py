"""`loco registry migrate`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("migrate", cls=Command)
@pass_app
def migrate(app: App) -> None:
    """Bring the catalogue of an older program to the present tables; each step is all or nothing.

    The home's own catalogue does this by itself when it is first used. One that several machines share
    waits for this command, because their older programs could not use it any more.
    """
    steps = app.registry().migrate()
    app.show({"steps": steps}, {"done": steps})
    if not steps:
        app.say("the catalogue is up to date")
