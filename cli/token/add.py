"""`loco token add`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("add", cls=Command)
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice(("read", "label", "run")),
    default="read",
    show_default=True,
    help="What it allows: to look; to label, reject and list too; to start jobs too.",
)
@pass_app
def add(app: App, name: str, role: str) -> None:
    """Make a token under NAME, in place of any other of that name, and print it.

    It is told once: the home keeps its hash. Programs send it as `Authorization: Bearer TOKEN`; what is said with it
    is said in the history by NAME.
    """
    from cli.serve.tokens import add_token

    token = add_token(app.home, name, role)
    app.show({"name": name, "role": role, "token": token}, {"name": name, "role": role, "token": token})
