"""`loco directions export`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App
from cli.directions.filters import levels
from cli.options import AT_LEAST_ONE, FILE, Command, number, pass_app


@click.command("export", cls=Command)
@click.argument("file", type=FILE)
@click.option("--id", "ids", multiple=True, metavar="ID", help="This direction; may be given several times.")
@click.option("--model", metavar="NAME", help="Found with this model: its name or id.")
@click.option("--dataset", metavar="NAME", help="Found on images of this dataset.")
@click.option("--roi", metavar="NAME", multiple=True, help="Found in this region; several: in any of them.")
@click.option("--image", metavar="NAME", multiple=True, help="Found on this image; several: on any of them.")
@click.option("--t", type=levels, metavar="T|LOW..HIGH", help="Found at this noise level, or between two.")
@click.option("--min-gain", type=number, metavar="X", help="Least gain.")
@click.option("--max-leakage", type=number, metavar="X", help="Greatest leakage.")
@click.option("--label", metavar="TEXT", help="With this label.")
@click.option("--alias", metavar="NAME[@LABEL]", help="With this alias, or any of this name.")
@click.option("--where", metavar="EXPRESSION", help="Any condition, as for `list`.")
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="The strongest so many; default: all.")
@click.option(
    "--for",
    "use",
    type=click.Choice(("loco", "diffusers", "card")),
    default="loco",
    show_default=True,
    help="What reads it: this program; diffusers, by a folder FILE with vectors, one file of code that adds them, and "
    "a card; people, by a folder FILE with a card and pictures.",
)
@pass_app
def export(app: App, /, file: Path, ids: tuple[str, ...], use: str, **filters: Any) -> None:
    """Write directions to FILE, which `loco directions import` reads into another home.

    With each chosen direction go all others of its basis, its model's record (not the weights) and what was said of
    them: "directions" counts all that the file holds, which is what an import brings.
    """
    registry = app.registry()
    for name in ("roi", "image"):
        filters[name] = filters[name] or None
    if ids:
        known = [registry.direction(one).id for one in ids]
        chosen = "id in ({})".format(", ".join(f"'{one}'" for one in known))
        filters["where"] = f"({filters['where']}) and {chosen}" if filters["where"] else chosen
        filters["status"] = "all"
    file = file.expanduser().absolute()
    if use != "loco":
        _portable(app, file, use, filters)
        return
    done = registry.export(file, **filters)
    more = done.directions != done.chosen
    directions = f"{done.directions} ({done.chosen} chosen)" if more else done.directions
    app.show(
        {**vars(done), "file": str(file)},
        {"directions": directions, "bases": done.bases, "models": done.models, "file": file},
    )


def _portable(app: App, folder: Path, use: str, filters: dict[str, Any]) -> None:
    """Write a folder for people, or for diffusers."""
    from flows.pictures.portable import card, write_portable
    from loco.files import write_atomic

    registry = app.registry()
    found = registry.find(**filters)
    if use == "card":
        for name, data in card(registry, found).items():
            write_atomic(folder / name, data)
    else:
        write_portable(registry, found, folder)
    app.show({"directions": len(found), "folder": str(folder)}, {"directions": len(found), "folder": folder})
