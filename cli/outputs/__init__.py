"""`loco outputs`: what edited files say of themselves."""

import click

from cli.options import Group
from cli.outputs.check import check
from cli.outputs.key import key


@click.group(cls=Group)
def outputs() -> None:
    """Read what edited files say of how they were made, and make keys to mark them with."""


for _command in (check, key):
    outputs.add_command(_command)
