"""`loco registry backup`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import FILE, Command, pass_app


@click.command("backup", cls=Command)
@click.argument("file", type=FILE)
@pass_app
def backup(app: App, file: Path) -> None:
    """Write the home to the ZIP archive FILE: catalogue, bases, models, datasets, runs and history.

    Unpacked into an empty folder it is a home. Edited images and caches are not in it, and a catalogue on a server
    is not either: `loco registry reindex` makes it again from the files.
    """
    file = file.expanduser().absolute()
    count = app.registry().backup(file)
    app.show({"files": count, "file": str(file)}, {"files": count, "file": file})
