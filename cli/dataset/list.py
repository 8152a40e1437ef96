"""`loco dataset list`."""

import click

from cli.app import App, Column
from cli.dataset.facts import facts, plain
from cli.options import Command, pass_app


@click.command("list", cls=Command)
@pass_app
def list_datasets(app: App) -> None:
    """List the registered datasets."""
    registry = app.registry()
    records, counts = registry.datasets(pictured=False), registry.image_counts()
    tell = plain if app.json else facts
    app.table(
        [tell(one, counts.get(one.name, 0)) for one in records],
        (
            Column("name", lambda one: one["name"], whole=True),
            Column("images", lambda one: one["images"], right=True),
            Column("unreadable", lambda one: one["unreadable"], right=True),
            Column("regions", lambda one: one["regions"]),
            Column("path", lambda one: one["path"]),
        ),
    )
    if not records:
        app.say("no dataset is registered yet; add one with `loco dataset add NAME PATH`")
