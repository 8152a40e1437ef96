"""`loco registry copy`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("copy", cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--replace", is_flag=True, help="Take the place of what TO holds.")
@pass_app
def copy(app: App, source: str, target: str, replace: bool) -> None:
    """Copy the catalogue at the URL FROM to the URL TO, all or nothing.

    `home` means the home's own. URLs are such as postgresql+psycopg://user@host/database and duckdb:///file. The
    files stay where they are: both catalogues are indexes of them.
    """
    from registry.registry import Registry

    own = f"duckdb:///{app.home.catalogue}"
    source, target = (own if url == "home" else url for url in (source, target))
    counts = Registry(app.home, source).copy_to(target, replace=replace)
    app.show(counts, counts)
