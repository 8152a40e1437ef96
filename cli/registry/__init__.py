"""`loco registry`: upkeep of the catalogue."""

import click

from cli.options import Group
from cli.registry.migrate import migrate
from cli.registry.reindex import reindex
from cli.registry.summary import summary
from cli.registry.verify import verify


@click.group(cls=Group)
def registry() -> None:
    """Check the catalogue against its files and rebuild it."""


for _command in (verify, reindex, migrate, summary):
    registry.add_command(_command)
