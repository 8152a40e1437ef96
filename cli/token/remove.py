"""`loco token remove`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("remove", cls=Command)
@click.argument("name", metavar="NAME")
@pass_app
def remove(app: App, name: str) -> None:
    """Withdraw the token NAME: it opens nothing from now on, and pages that it opened nothing more."""
    from cli.serve.tokens import remove_token

    remove_token(app.home, name)
    app.show({"removed": name}, {"removed": name})
