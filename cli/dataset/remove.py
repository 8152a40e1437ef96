"""`loco dataset remove`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("remove", cls=Command)
@click.argument("name")
@click.option("--force", is_flag=True, help="Even where directions, schedules or unfinished runs need it.")
@pass_app
def remove(app: App, name: str, force: bool) -> None:
    """Forget the dataset NAME. Its images stay where they are, and so do the directions found in them.

    What still needs it is listed, and nothing is done then without --force.
    """
    from flows.removing import remove_dataset

    needed = remove_dataset(app.home, app.url, name, force=force)
    app.show({"removed": name, "needed_by": needed}, {"removed": name, "needed by": needed})
