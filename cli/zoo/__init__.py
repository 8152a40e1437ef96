"""`loco zoo`: the embedded model and its faces."""

import click

from cli.options import Group
from cli.zoo.reader import reader
from cli.zoo.render import render
from cli.zoo.report import report
from cli.zoo.train import train


@click.group(cls=Group)
def zoo() -> None:
    """Make and measure the embedded model."""


for _command in (render, train, report, reader):
    zoo.add_command(_command)
