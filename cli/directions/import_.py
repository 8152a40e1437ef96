"""`loco directions import`."""

from pathlib import Path

import click

from cli.app import PARTIAL, App
from cli.options import FILE, Command, pass_app


@click.command("import", cls=Command)
@click.argument("file", type=FILE)
@pass_app
def import_(app: App, file: Path) -> None:
    """Take the directions in FILE, written by `loco directions export`, into this home.

    What is here already is not taken twice. Everything is verified first; what cannot be taken is named, and
    the exit code is then 3.
    """
    done = app.registry().import_(file.expanduser().absolute())
    app.show(
        done,
        {
            "directions added": done.directions,
            "bases added": done.added,
            "bases known": done.known,
            "models added": done.models,
            "events added": done.events,
            "refused": len(done.refused),
        },
    )
    for name, cause in done.refused:
        app.say(f"refused {name}: {cause}")
    if done.refused:
        click.get_current_context().exit(PARTIAL)
