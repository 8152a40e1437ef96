"""`loco worker`."""

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, Command, pass_app


@click.command(cls=Command)
@click.option(
    "--limit", type=AT_LEAST_ONE, default=1, show_default=True, metavar="N", help="Runs at a time, at most."
)
@pass_app
def worker(app: App, limit: int) -> None:
    """Run what is scheduled, until interrupted; start it at boot to have schedules survive a restart.

    It starts the home's Prefect server and keeps it up. Scheduled runs that a kill or a restart of the machine
    cut short go on.
    """
    from flows.schedules.worker import work

    work(app.home, app.url, limit, app.say)
