"""`loco model list`."""

import click

from cli.app import App, Column
from cli.model.facts import size
from cli.options import Command, pass_app


@click.command("list", cls=Command)
@pass_app
def list_models(app: App) -> None:
    """List the registered models."""
    from loco.ids import SHORT

    records = app.registry().models()
    app.table(
        records,
        (
            Column("name", lambda one: one.name, whole=True),
            Column("id", lambda one: one.id[:SHORT], whole=True),
            Column("family", lambda one: one.family),
            Column("size", size),
            Column("recommended t", lambda one: one.recommended_t, right=True),
            Column("source", lambda one: one.source),
        ),
    )
    if not records:
        app.say("no model is registered yet; add one with `loco model add NAME SOURCE`")
