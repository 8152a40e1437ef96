"""`loco jobs`: what was run."""

import click

from cli.jobs.cancel import cancel
from cli.jobs.list import list_jobs
from cli.jobs.logs import logs
from cli.jobs.resume import resume
from cli.jobs.sheet import sheet
from cli.jobs.show import show
from cli.options import Group


@click.group(cls=Group)
def jobs() -> None:
    """Look at the runs of discover, apply and score, go on with one, or stop one."""


for _command in (list_jobs, show, sheet, logs, resume, cancel):
    jobs.add_command(_command)
