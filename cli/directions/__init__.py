"""`loco directions`: what was found."""

import click

from cli.directions.list import list_directions
from cli.directions.show import show
from cli.options import Group


@click.group(cls=Group)
def directions() -> None:
    """Look through the catalogue of found directions."""


for _command in (list_directions, show):
    directions.add_command(_command)
