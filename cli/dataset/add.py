"""`loco dataset add`."""

from pathlib import Path

import click

from cli.app import PARTIAL, App
from cli.dataset.facts import facts, plain
from cli.options import FOLDER, Command, pass_app


@click.command("add", cls=Command)
@click.argument("name")
@click.argument("path", type=FOLDER)
@click.option(
    "--masks", type=FOLDER, metavar="PATH", help="Folder of the region masks; default: masks in the dataset."
)
@pass_app
def add(app: App, name: str, path: Path, masks: Path | None) -> None:
    """Register the folder of images PATH, with its masks, under NAME.

    Every image is read once. Those that cannot be read are named and left out; the exit code is then 3.
    Run it again when images were added or changed.

    \b
    Masks are one of, or several together:
      masks/ROI/IMAGE.png   one mask per image
      masks/IMAGE.png       label maps, named by masks/classes.json: {"hair": 13, "eyes": [4, 5]}
      masks/ROI.png         one mask for all images
    """
    from flows.register import dataset_record

    with app.watch("reading images") as watch:
        record = dataset_record(
            name, path, masks, lambda _: watch.advance(), lambda text: watch.say(f"note: {text}")
        )
    app.registry().add_dataset(record)
    app.show(plain(record), facts(record))
    for image, cause in record.unreadable:
        app.say(f"unreadable: {image}: {cause}")
    if record.unreadable:
        click.get_current_context().exit(PARTIAL)
