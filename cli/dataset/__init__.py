"""`loco dataset`: the image folders to work on."""

import click

from cli.dataset.add import add
from cli.dataset.list import list_datasets
from cli.dataset.remove import remove
from cli.dataset.show import show
from cli.options import Group


@click.group(cls=Group)
def dataset() -> None:
    """Register the folders of images and masks to work on."""


for _command in (add, list_datasets, show, remove):
    dataset.add_command(_command)
