"""`loco registry snapshot`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import FILE, Command, pass_app


@click.command("snapshot", cls=Command)
@click.argument("file", type=FILE)
@click.option("--replace", is_flag=True, help="Take the place of what FILE is now.")
@pass_app
def snapshot(app: App, file: Path, replace: bool) -> None:
    """Write the catalogue as it is now to FILE, one DuckDB file for other programs.

    Whoever opens it is in nobody's way, and may change it. `loco sql` asks without one.
    """
    file = file.expanduser().absolute()
    size = app.registry().snapshot(file, replace=replace)
    app.show({"file": str(file), "bytes": size}, {"file": file, "bytes": size})
