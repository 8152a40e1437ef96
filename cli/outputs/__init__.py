"""`loco outputs`: what edited files say of themselves, and frames as a video."""

import click

from cli.options import Group
from cli.outputs.check import check
from cli.outputs.key import key
from cli.outputs.video import video


@click.group(cls=Group)
def outputs() -> None:
    """Read what edited files say of how they were made, make keys to mark them with, put frames together."""


for _command in (check, key, video):
    outputs.add_command(_command)
