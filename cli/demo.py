"""`loco demo`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App, Column
from cli.options import FOLDER, Command, pass_app
from loco.ids import SHORT

COLUMNS: tuple[Column[dict[str, Any]], ...] = (
    Column("direction", lambda one: one["id"][:SHORT], whole=True),
    Column("roi", lambda one: one["roi"]),
    Column("found on", lambda one: one["found_on"]),
    Column("does", lambda one: one["name"]),
    Column("gain", lambda one: one["gain"], right=True),
    Column("leakage", lambda one: one["leakage"], right=True),
    Column("strength", lambda one: one["strength"], right=True),
    Column("in/out sources", lambda one: one["locality_sources"], right=True),
    Column("in/out others", lambda one: one["locality_others"], right=True),
    Column("0 is input", lambda one: one["zero_is_input"], right=True),
)
"""What is shown of each chosen direction; in/out is the median change per pixel inside its region over that outside."""


@click.command(cls=Command)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for the page and its images.",
)
@pass_app
def demo(app: App, out: Path) -> None:
    """Try everything on the embedded model and faces.

    Finds directions on a few faces, catalogues them, applies them to others and writes a page that shows the
    results. Needs no network; a second run goes on from the first.
    """
    from flows.studies.demo import demo as run_demo

    with app.watch("demo") as watch:
        result = run_demo(app.home, out.expanduser().absolute(), watch)
    summary = result.summary
    discovered, applied = summary["runs"]["discovered"], summary["runs"]["applied"]
    app.show(
        result,
        {
            "page": result.page,
            "discovered": f"{discovered['done']} faces analysed, {discovered['skipped']} known already",
            "applied": f"{applied['done']} images made, {applied['skipped']} there already",
            "catalogue": summary["catalogue"],
        },
    )
    if not app.json:
        click.echo()
        app.table(summary["directions"], COLUMNS)
    app.say("\n".join(("", "Try next:", *(f"  {line}" for line in result.try_next))))
