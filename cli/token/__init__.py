"""`loco token`: who may use the served catalogue."""

import click

from cli.options import Group
from cli.token.add import add
from cli.token.list import list_tokens
from cli.token.remove import remove


@click.group(cls=Group)
def token() -> None:
    """Make and withdraw tokens for `loco serve`: for programs, and for other people."""


for _command in (add, list_tokens, remove):
    token.add_command(_command)
