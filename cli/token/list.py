"""`loco token list`."""

import click

from cli.app import App, Column
from cli.options import Command, pass_app


@click.command("list", cls=Command)
@pass_app
def list_tokens(app: App) -> None:
    """List the tokens: names, roles, and when they were made."""
    from cli.serve.tokens import read_tokens

    found = read_tokens(app.home)
    app.table(
        [{"name": one.name, "role": one.role, "added_at": one.added_at} for one in found],
        (
            Column("name", lambda one: one["name"], whole=True),
            Column("role", lambda one: one["role"]),
            Column("added", lambda one: one["added_at"][:16].replace("T", " ")),
        ),
    )
    if not found:
        app.say("no token was made yet; `loco token add NAME` makes one")
