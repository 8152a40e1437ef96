"""`loco jobs list`."""

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, pass_app

_SECONDS = len("2026-11-21T10:00:00")
"""Of a time, what people are shown."""


@click.command("list", cls=Command)
@click.option("--kind", type=click.Choice(["discover", "apply"]), help="Only runs of this kind.")
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="At most so many; default: all.")
@pass_app
def list_jobs(app: App, kind: str | None, limit: int | None) -> None:
    """List the runs, the latest first."""
    from loco.ids import SHORT

    runs = app.registry().runs(kind)[:limit]
    app.table(
        runs,
        (
            Column("id", lambda one: one.id[:SHORT], whole=True),
            Column("kind", lambda one: one.kind),
            Column("status", lambda one: one.status),
            Column("items", lambda one: one.counts),
            Column("started", lambda one: one.started_at[:_SECONDS]),
            Column("finished", lambda one: one.finished_at and one.finished_at[:_SECONDS]),
        ),
    )
    if not runs:
        app.say("nothing was run yet; `loco discover` and `loco apply` do")
