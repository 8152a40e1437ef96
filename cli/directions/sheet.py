"""`loco directions sheet`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App
from cli.directions.filters import asked, filtering
from cli.options import AT_LEAST_ONE, FILE, Command, pass_app


@click.command("sheet", cls=Command)
@filtering
@click.option(
    "--sort",
    metavar="[-]FIELD",
    help="Field to sort by, as for `list`. Default: those of whole datasets first, then the greatest gain.",
)
@click.option(
    "--limit", type=AT_LEAST_ONE, metavar="N", default=50, show_default=True, help="At most so many."
)
@click.option(
    "--out",
    type=FILE,
    required=True,
    metavar="FILE",
    help="The sheet: .html (one file, with all in it) or .png.",
)
@pass_app
def sheet(app: App, /, limit: int, out: Path, **filters: Any) -> None:
    """Draw directions: each at five strengths, its region, where it changes, and itself.

    The pictures stay in the cache: a second sheet of the same directions is there at once. Where a direction's image or
    model is not here, its region and the direction alone are shown.
    """
    from flows.pictures.sheet import check_ending, of_directions, write

    out = out.expanduser().absolute()
    check_ending(out)
    registry = app.registry()
    filters = asked(filters)
    found = registry.find(**filters, limit=limit)
    total = len(found) if len(found) < limit else registry.count(**filters)
    intro = f"{len(found)} of {total} directions" if total > len(found) else f"{total} directions"
    with app.watch("sheet") as watch:
        watch.total(len(found))
        write(out, "Directions", intro, of_directions(registry, found, watch.advance))
    app.show(
        {"directions": len(found), "file": str(out)}, {"directions": f"{len(found)} of {total}", "sheet": out}
    )
