"""`loco directions show`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.app import App
from cli.options import Command, pass_app
from loco.evidence import FIGURES
from loco.recipes import in_use

if TYPE_CHECKING:
    from loco.direction import Direction


def _found_on(direction: "Direction", name: str) -> dict[str, str]:
    """The image or the dataset that it was found on."""
    if direction.scope == "dataset":
        return {"dataset": f"{name}, {direction.images} images (content id {direction.image_id})"}
    return {"image": f"{name} (sha256 {direction.image_id})"}


@click.command("show", cls=Command)
@click.argument("direction_id", metavar="ID")
@click.option(
    "--picture/--no-picture",
    default=None,
    help="Draw it, or do not; default: on a terminal that can show it.",
)
@pass_app
def show(app: App, direction_id: str, picture: bool | None) -> None:
    """Show all evidence for the direction ID: its figures, basis file, recipe and what was refused beside it.

    On a terminal its picture is drawn too: at five strengths, where it changes, and the direction itself. Elsewhere
    the picture's file is named, where there is one; --picture makes it.

    The beginning of an id is enough, 6 characters or more.
    """
    from cli.blocks import draw
    from flows.pictures.strips import file_of, kept, strip

    registry = app.registry()
    direction = registry.direction(direction_id)
    basis = registry.basis(direction.basis_id)
    names = [model.name for model in registry.models() if model.id == direction.model]
    source = next((roi.source for roi in basis.rois if roi.id == direction.roi_id), None)
    file = app.home.basis(direction.basis_id)
    record = {
        **asdict(direction),
        "image_name": basis.image_name,
        "roi_source": source,
        "basis_file": str(file),
        "recipe": asdict(basis.recipe),
        "refused": [asdict(one) for one in basis.refused],
        "products": basis.products,
        "evaluations": basis.evaluations,
        "provenance": basis.provenance,
    }
    if picture is None:
        picture = sys.stdout.isatty() and not app.json
    made = strip(registry, direction) if picture else None
    drawn = kept(registry, direction) if made is None else file_of(registry, made)
    record["picture"] = None if drawn is None else str(drawn)
    channels, height, width = direction.shape
    facts = {
        "id": direction.id,
        "region": f"{direction.roi} ({source}), {direction.roi_area:.1%} of the image",
        "index": direction.index,
        **_found_on(direction, basis.image_name),
        "model": f"{names[0]} (id {direction.model})" if names else direction.model,
        "t": f"{direction.t:g} (training step {direction.step})",
        "size": f"{width} x {height} x {channels}",
        **{
            figure.title: figure.words(getattr(direction, figure.name))
            for figure in FIGURES
            if direction.scope == "dataset" or "across" not in figure.places
        },
        "method": direction.method,
        "recipe": in_use(basis.recipe),
        "refused": [f"{one.roi} {one.index}: {one.cause}" for one in basis.refused],
        "cost": f"{basis.products} Jacobian products, {basis.evaluations} network evaluations",
        "provenance": basis.provenance,
        "basis file": file,
        **({} if drawn is None else {"picture": drawn}),
        **({"not shown": made.trouble} if made is not None and made.trouble else {}),
    }
    app.show(record, facts)
    if made is not None and not app.json:
        draw(made.data)
