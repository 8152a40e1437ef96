"""`loco server start`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("start", cls=Command)
@pass_app
def start(app: App) -> None:
    """Start the home's Prefect server, unless it runs already, and print its address."""
    from flows.server.server import ensure_server

    url = ensure_server(app.home)
    app.show({"url": url}, {"url": url})
