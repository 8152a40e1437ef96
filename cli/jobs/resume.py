"""`loco jobs resume`."""

import click

from cli.app import App
from cli.options import Command, pass_app
from cli.outcome import finish
from loco.errors import InputError


@click.command("resume", cls=Command)
@click.argument("run_id", metavar="ID")
@pass_app
def resume(app: App, run_id: str) -> None:
    """Go on with the run ID where it stopped: failed items are tried again, finished ones are not.

    The beginning of an id is enough, 6 characters or more.
    """
    from flows.engine.record import catalogue, status_of
    from flows.jobs import discover_job

    run = catalogue(app.home, app.url).run(run_id)
    if status_of(run) == "running":
        raise InputError(
            f"run {run.id[:12]} works already; `loco jobs show {run.id[:12]}` tells how far it is"
        )
    if run.kind != "discover":
        raise InputError(
            f"run {run.id[:12]} is one of `loco {run.kind}`: run the same command again, it goes on"
        )
    from flows.discover.job import discover

    with app.watch("discover") as watch:
        ended = discover(app.home, app.url, discover_job(run.spec), watch, run.id)
    finish(app, ended)
