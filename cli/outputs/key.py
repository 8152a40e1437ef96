"""`loco outputs key`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("key", cls=Command)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@pass_app
def key(app: App, /, file: Path) -> None:
    """Make the key of an invisible mark: 32 random bytes in a new FILE that only you can read.

    Whoever has it can find the mark, and write it. `loco apply --watermark FILE` writes it, `loco outputs check --key
    FILE` finds it. Without the file the mark can neither be found nor proved: keep it.
    """
    from loco.marks.marking import new_key

    name = new_key(file)
    app.show({"file": str(file), "key": name}, {"key": name, "file": str(file)})
