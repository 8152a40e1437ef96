"""`loco jobs logs`."""

import time

import click

from cli.app import App, printable
from cli.options import Command, pass_app

_POLL = 0.5


@click.command("logs", cls=Command)
@click.argument("run_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Go on until the run ends.")
@pass_app
def logs(app: App, run_id: str, follow: bool) -> None:
    """Print what the run ID said: how it began, what failed and why, what was tried again, how it ended. Times are UTC.

    The beginning of an id is enough, 6 characters or more.
    """
    from cli.remote import Remote
    from flows.engine.progress import said
    from flows.engine.record import status_of

    registry = app.registry()
    remote = registry if isinstance(registry, Remote) else None
    name = str(remote.job(run_id)["id"]) if remote is not None else registry.run(run_id).id
    shown = 0
    while True:
        status = remote.job(name)["status"] if remote is not None else status_of(registry.run(name))
        works = status in ("running", "starting")
        for line in said(app.home, name, shown) if remote is None else remote.said(name, shown):
            shown += 1
            moment, _, text = line.partition("  ")
            app.show({"at": moment, "said": text}, {}) if app.json else click.echo(printable(line))
        if not (follow and works):
            return
        time.sleep(_POLL)
