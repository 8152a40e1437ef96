"""`loco server stop`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("stop", cls=Command)
@pass_app
def stop(app: App) -> None:
    """Stop the home's Prefect server; nothing to do is no error."""
    from flows.server.server import stop_server

    stopped = stop_server(app.home)
    app.show({"stopped": stopped}, {"server": "stopped" if stopped else "none was running"})
