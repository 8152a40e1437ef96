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
    registry = app.registry()
    record = registry.dataset(name, pictured=app.json)
    count = registry.image_counts().get(name, 0)
    if app.json:
        images = [asdict(image) for image in record.images]
        app.show({**plain(record, count), "images": images}, {})
        return
    app.show({}, facts(record, count))
    click.echo()
    app.table(
        registry.images(record, 0, _SHOWN),
        (
            Column("image", lambda one: one.name),
            Column("size", lambda one: f"{one.width} x {one.height}", right=True),
            Column("sha256", lambda one: one.id),
        ),
    )
    if count > _SHOWN:
        app.say(f"and {count - _SHOWN} more; --json shows all")
    for image, cause in record.unreadable:
        app.say(f"unreadable: {image}: {cause}")
