"""`loco registry gc`."""

import click

from cli.app import App, Column
from cli.options import Command, pass_app


@click.command("gc", cls=Command)
@click.option(
    "--rejected", is_flag=True, help="Also bases of which every direction was rejected and none named."
)
@click.option("--damaged", is_flag=True, help="Also basis files that cannot be used any more.")
@click.option("--delete", is_flag=True, help="Delete it; without this it is only listed.")
@pass_app
def gc(app: App, rejected: bool, damaged: bool, delete: bool) -> None:
    """List what can go: what killed processes left half written, old caches, and more on request.

    Nothing is deleted without --delete.
    """
    registry = app.registry()
    items = registry.garbage(rejected=rejected, damaged=damaged)
    app.table(
        items,
        (
            Column("file", lambda one: one.path),
            Column("why", lambda one: one.why),
            Column("bytes", lambda one: one.size, right=True),
        ),
    )
    size = sum(item.size for item in items)
    if delete:
        registry.collect(items)
        app.say(f"deleted: {len(items)}, {size} bytes")
    elif items:
        app.say(f"can go: {len(items)}, {size} bytes; --delete deletes them")
    else:
        app.say("nothing can go")
