"""`loco bench`: how fast it is here, with its parts, against what it is compared with."""

import click

from cli.bench.apply import apply
from cli.bench.discover import discover
from cli.options import Group


@click.group(cls=Group)
def bench() -> None:
    """Measure speed on this machine, side by side with what it is compared with."""


for _command in (discover, apply):
    bench.add_command(_command)
