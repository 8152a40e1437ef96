"""`loco jobs resume`."""

import click

from cli.app import App
from cli.options import Command, pass_app
from cli.outcome import finish


@click.command("resume", cls=Command)
@click.argument("run_id", metavar="ID")
@pass_app
def resume(app: App, run_id: str) -> None:
    """Go on with the run ID where it stopped: failed items are tried again, finished ones are not.

    The beginning of an id is enough, 6 characters or more.
    """
    from flows.start import resumable
    from flows.start import run as start

    job, whole = resumable(app.home, app.url, run_id)
    with app.watch(job.kind) as watch:
        ended = start(app.home, app.url, job, watch, whole)
    finish(app, ended)
