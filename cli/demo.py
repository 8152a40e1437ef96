"""`loco demo`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import FOLDER, Command, pass_app


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
    from flows.demo import demo as run_demo

    with app.watch("demo") as watch:
        result = run_demo(app.home, out.expanduser().absolute(), watch)
    app.show(result, {"page": result.page, **result.summary})
    if result.try_next:
        app.say("\n".join(("", "Try next:", *(f"  {line}" for line in result.try_next))))
