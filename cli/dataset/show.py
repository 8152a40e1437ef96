"""`loco dataset show`."""

from dataclasses import asdict

import click

from cli.app import App, Column
from cli.dataset.facts import facts, plain
from cli.options import Command, pass_app

_SHOWN = 20


@click.command("show", cls=Command)
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """Show all that is known of the dataset NAME, and its first images (with --json, all of them)."""
    record = app.registry().dataset(name)
    images = [asdict(image) for image in record.images]
    app.show({**plain(record), "images": images}, facts(record))
    if app.json:
        return
    click.echo()
    app.table(
        record.images[:_SHOWN],
        (
            Column("image", lambda one: one.name),
            Column("size", lambda one: f"{one.width} x {one.height}", right=True),
            Column("sha256", lambda one: one.id),
        ),
    )
    if len(images) > _SHOWN:
        app.say(f"and {len(images) - _SHOWN} more; --json shows all")
    for image, cause in record.unreadable:
        app.say(f"unreadable: {image}: {cause}")
