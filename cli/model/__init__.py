"""`loco model`: the models that directions are found with."""

import click

from cli.model.add import add
from cli.model.check import check
from cli.model.convert import convert
from cli.model.list import list_models
from cli.model.remove import remove
from cli.model.sample import sample
from cli.model.show import show
from cli.options import Group


@click.group(cls=Group)
def model() -> None:
    """Register the diffusion models to work with."""


for _command in (add, list_models, show, check, sample, convert, remove):
    model.add_command(_command)
