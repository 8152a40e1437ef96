"""`loco registry reindex`."""

import click

from cli.app import PARTIAL, App
from cli.options import Command, pass_app


@click.command("reindex", cls=Command)
@pass_app
def reindex(app: App) -> None:
    """Rebuild the catalogue from the files of the home; the old one stays until the new one is whole.

    Damaged files, and those of a newer program, are passed over and left as they are; the exit code is then 3.
    """
    counts = app.registry().reindex()
    app.show(counts, counts)
    for what, kind in (("damaged files", "damaged"), ("files of a newer program", "newer")):
        if counts.get(kind):
            app.say(f"{what} were passed over; `loco registry verify` names them")
    if counts["damaged"] or counts.get("newer"):
        click.get_current_context().exit(PARTIAL)
