"""`loco directions list`."""

from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, number, pass_app

if TYPE_CHECKING:
    from registry.registry import Registry

Levels = float | tuple[float, float]

_FEW = 10
"""Images up to which asking for each name costs less than reading all datasets."""


def levels(text: str) -> Levels:
    """A type for options: a noise level, or the lowest and the highest, `0.5` or `0.4..0.6`."""
    low, dots, high = text.partition("..")
    try:
        return (number(low), number(high)) if dots else number(low)
    except click.BadParameter as error:
        raise click.BadParameter(f"expected a number or a range such as 0.4..0.6, found {text!r}") from error


@click.command("list", cls=Command)
@click.option("--model", metavar="NAME", help="Found with this model: its name or id.")
@click.option("--dataset", metavar="NAME", help="Found on images of this dataset.")
@click.option("--roi", metavar="NAME", help="Found in this region.")
@click.option(
    "--image", metavar="NAME", help="Found on this image: its name, or the beginning of its sha256."
)
@click.option("--t", type=levels, metavar="T|LOW..HIGH", help="Found at this noise level, or between two.")
@click.option(
    "--min-gain", type=number, metavar="X", help="Least change inside the region per unit of strength."
)
@click.option(
    "--max-leakage",
    type=number,
    metavar="X",
    help="Greatest change outside as a fraction of the change inside.",
)
@click.option(
    "--min-retained", type=number, metavar="X", help="Least length left after the projection, 0 to 1."
)
@click.option("--converged/--any", default=False, help="Only those whose solve converged, or any (default).")
@click.option(
    "--sort",
    metavar="[-]FIELD",
    default="-gain",
    show_default=True,
    help="Field to sort by, with '-' before it for the greatest first.",
)
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="At most so many; default: all.")
@pass_app
def list_directions(app: App, /, converged: bool, **filters: Any) -> None:
    """List directions with their evidence, the strongest first.

    \b
    gain      change inside the region, per unit of strength
    leakage   change outside as a fraction of the change inside
    retained  length of the direction left after the projection off the outside
    """
    from loco.direction import Direction
    from loco.ids import SHORT

    registry = app.registry()
    found = registry.find(converged=True if converged else None, **filters)
    # Programs get the images' ids with the rest; names cost queries.
    names = {} if app.json else _image_names(registry, {one.image_id for one in found})
    columns: tuple[Column[Direction], ...] = (
        Column("id", lambda one: one.short, whole=True),
        Column("region", lambda one: one.roi),
        Column("n", lambda one: one.index, right=True),
        Column("image", lambda one: names.get(one.image_id, one.image_id[:SHORT])),
        Column("t", lambda one: one.t, right=True),
        Column("gain", lambda one: one.gain, right=True),
        Column("leakage", lambda one: one.leakage, right=True),
        Column("retained", lambda one: one.retained, right=True),
        Column("converged", lambda one: one.converged),
    )
    app.table(found, columns)
    if not found:
        app.say("no direction matches; `loco discover` finds some, fewer filters show more")


def _image_names(registry: "Registry", ids: set[str]) -> dict[str, str]:
    """Names of the images: of a few, each is asked for; of many, those of the registered datasets."""
    if len(ids) <= _FEW:
        names = {image: registry.image_name(image) for image in ids}
        return {image: name for image, name in names.items() if name is not None}
    return {image.id: image.name for dataset in registry.datasets() for image in dataset.images}
