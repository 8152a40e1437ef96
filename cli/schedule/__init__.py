"""`loco schedule`: jobs again and again."""

import click

from cli.options import Group
from cli.schedule.create import create
from cli.schedule.list import list_schedules
from cli.schedule.remove import remove
from cli.schedule.run import run


@click.group(cls=Group)
def schedule() -> None:
    """Discover or apply again and again, on a clock; `loco worker` does the work."""


for _command in (create, list_schedules, remove, run):
    schedule.add_command(_command)
