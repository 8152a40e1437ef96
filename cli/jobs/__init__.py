"""`loco jobs`: what was run."""

import click

from cli.jobs.list import list_jobs
from cli.jobs.show import show
from cli.options import Group


@click.group(cls=Group)
def jobs() -> None:
    """Look at the runs of discover and apply."""


for _command in (list_jobs, show):
    jobs.add_command(_command)
