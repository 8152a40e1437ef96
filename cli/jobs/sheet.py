"""`loco jobs sheet`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FILE, Command, pass_app


@click.command("sheet", cls=Command)
@click.argument("run_id", metavar="ID")
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="The sheet: .html (one file, with all in it) or .png; default: RUN.html here.",
)
@click.option(
    "--limit", type=AT_LEAST_ONE, metavar="N", default=24, show_default=True, help="At most so many images."
)
@pass_app
def sheet(app: App, run_id: str, out: Path | None, limit: int) -> None:
    """Draw before and after of the apply run ID: each image beside what was made of it.

    The beginning of an id is enough, 6 characters or more.
    """
    from flows.pictures.sheet import check_ending, of_run, write

    registry = app.registry()
    run = registry.run(run_id)
    out = (out or Path(f"{run.id[:12]}.html")).expanduser().absolute()
    check_ending(out)
    asked = run.counts.get("planned", 0)
    shown = write(out, f"Run {run.id[:12]}", f"{asked} outputs, {run.status}", of_run(registry, run, limit))
    app.show({"images": shown, "file": str(out)}, {"images": shown, "sheet": out})
