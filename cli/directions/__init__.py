"""`loco directions`: what was found."""

import click

from cli.directions.alias import alias
from cli.directions.export import export
from cli.directions.history import history
from cli.directions.import_ import import_
from cli.directions.label import label
from cli.directions.list import list_directions
from cli.directions.name import name
from cli.directions.reject import reject
from cli.directions.restore import restore
from cli.directions.sheet import sheet
from cli.directions.show import show
from cli.directions.similar import similar
from cli.options import Group


@click.group(cls=Group)
def directions() -> None:
    """Look through the catalogue of found directions."""


for _command in (
    list_directions,
    show,
    similar,
    sheet,
    label,
    name,
    alias,
    reject,
    restore,
    history,
    export,
    import_,
):
    directions.add_command(_command)
