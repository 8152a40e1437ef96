"""`loco registry reindex`."""

import click

from cli.app import PARTIAL, App
from cli.options import Command, pass_app


@click.command("reindex", cls=Command)
@pass_app
def reindex(app: App) -> None:
    """Rebuild the catalogue from the files of the home; the old one stays until the new one is whole.

    Damaged files are passed over; the exit code is then 3.
    """
    counts = app.registry().reindex()
    app.show(counts, counts)
    if counts["damaged"]:
        app.say("damaged files were passed over; `loco registry verify` names them")
        click.get_current_context().exit(PARTIAL)
