"""`loco registry store`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("store", cls=Command)
@click.option(
    "--artifacts", metavar="URL", help="Share basis files there too: a folder, s3://..., or '' for nowhere."
)
@click.option("--dtype", metavar="TYPE", help="Store vectors as float32 (default) or float16.")
@click.option("--send", is_flag=True, help="Send the basis files that the shared store lacks.")
@pass_app
def store(app: App, artifacts: str | None, dtype: str | None, send: bool) -> None:
    """Show or change where basis files lie, and as what.

    With a shared store every basis file goes to the home and there; what only the store has is fetched when it is
    needed, and verified. float16 halves the files; each tells how much its vectors lost, and it applies to bases
    written from then on.
    """
    from registry.files.shared import configure, settings

    changed = artifacts is not None or dtype is not None
    now = configure(app.home, artifacts=artifacts, dtype=dtype) if changed else settings(app.home)
    facts: dict[str, object] = {"artifacts": now.artifacts, "dtype": now.dtype}
    if send:
        facts["sent"] = app.registry().send()
    app.show(facts, facts)
