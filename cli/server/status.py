"""`loco server status`."""

from dataclasses import asdict

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("status", cls=Command)
@pass_app
def status(app: App) -> None:
    """Say whether the home's Prefect server runs, where, since when, and whether it answers.

    Its page asks for a password: it is the line in the file that stands beside *log in with*.
    """
    from flows.server.access import secret_file
    from flows.server.server import server_status

    state = server_status(app.home)
    if state is None:
        app.show({"running": False}, {"server": "not running"})
        return
    page, secret = state.url.removesuffix("/api"), str(secret_file(app.home))
    app.show(
        {"running": True, **asdict(state), "page": page, "secret": secret},
        {
            "server": "running" if state.healthy else "running, but does not answer",
            "page": page,
            "log in with": f"the line in {secret}",
            "url": state.url,
            "pid": state.pid,
            "started": state.started_at,
        },
    )
