"""`loco server`: the Prefect server that runs use."""

import click

from cli.options import Group
from cli.server.start import start
from cli.server.status import status
from cli.server.stop import stop


@click.group(cls=Group)
def server() -> None:
    """Start and stop the Prefect server that runs use (they start it when needed)."""


for _command in (start, stop, status):
    server.add_command(_command)
