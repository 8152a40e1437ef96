"""`loco jobs cancel`."""

import click

from cli.app import App
from cli.options import Command, pass_app
from loco.errors import InputError


@click.command("cancel", cls=Command)
@click.argument("run_id", metavar="ID")
@pass_app
def cancel(app: App, run_id: str) -> None:
    """Stop the run ID, in whichever process it works: it ends after the images that it is at.

    What it finished stays; `loco jobs resume ID` goes on. The beginning of an id is enough.
    """
    from cli.remote import Remote
    from flows.engine.record import ask_to_stop, catalogue, status_of

    registry = app.registry()
    if isinstance(registry, Remote):
        name = registry.cancel(run_id)
        app.show({"run": name, "cancelling": True}, {"run": name, "status": "cancelling"})
        return
    run = catalogue(app.home, app.url).run(run_id)
    status = status_of(run)
    if status != "running":
        raise InputError(f"run {run.id[:12]} is {status}; only a run that works can be cancelled")
    ask_to_stop(app.home, run.id, "cancelled", "cancelled by `loco jobs cancel`")
    app.show({"run": run.id, "cancelling": True}, {"run": run.id, "status": "cancelling"})
