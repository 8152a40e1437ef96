"""`loco server status`."""

from dataclasses import asdict

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("status", cls=Command)
@pass_app
def status(app: App) -> None:
    """Say whether the home's Prefect server runs, where, since when, and whether it answers."""
    from flows.orchestration.server import server_status

    state = server_status(app.home)
    if state is None:
        app.show({"running": False}, {"server": "not running"})
        return
    app.show(
        {"running": True, **asdict(state)},
        {
            "server": "running" if state.healthy else "running, but does not answer",
            "url": state.url,
            "pid": state.pid,
            "started": state.started_at,
        },
    )
