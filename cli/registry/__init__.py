"""`loco registry`: upkeep of the catalogue."""

import click

from cli.options import Group
from cli.registry.backup import backup
from cli.registry.copy import copy
from cli.registry.gc import gc
from cli.registry.migrate import migrate
from cli.registry.password import password
from cli.registry.reindex import reindex
from cli.registry.snapshot import snapshot
from cli.registry.store import store
from cli.registry.summary import summary
from cli.registry.verify import verify


@click.group(cls=Group)
def registry() -> None:
    """Check the catalogue against its files, rebuild, move and back it up."""


for _command in (verify, reindex, migrate, gc, copy, backup, snapshot, password, store, summary):
    registry.add_command(_command)
