"""What `loco model remove` and `loco dataset remove` have in common."""

import click

from cli.app import App
from cli.options import Command, pass_app


def removal(what: str, stays: str) -> click.Command:
    """The command that forgets a model or a dataset; `stays` says what is left as it is."""

    @click.command(
        "remove",
        cls=Command,
        help=f"""Forget the {what} NAME. {stays}

        What still needs it is listed, and nothing is done then without --force.""",
    )
    @click.argument("name")
    @click.option(
        "--force", is_flag=True, help="Even where directions, schedules or unfinished runs need it."
    )
    @pass_app
    def remove(app: App, name: str, force: bool) -> None:
        from flows.removing import remove_dataset, remove_model

        forget = {"model": remove_model, "dataset": remove_dataset}[what]
        needed = forget(app.home, app.url, name, force=force)
        app.show({"removed": name, "needed_by": needed}, {"removed": name, "needed by": needed})

    return remove
