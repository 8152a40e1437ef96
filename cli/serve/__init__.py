"""`loco serve`: the catalogue in the browser, and as an API."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("serve", cls=Command)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Elsewhere than on this machine, looking needs a token too.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="Port; 0 for a free one."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="A further name by which it may be called, such as that of a proxy in front; repeatable.",
)
@pass_app
def serve(app: App, host: str, port: int, names: tuple[str, ...]) -> None:
    """Serve the catalogue: a page to look, name, try and apply directions, and its JSON API under /api/v1.

    The address that is printed opens the page with a token of this start, which may do everything. Tokens that last,
    for programs and for other people, come from `loco token add`. Ctrl-C ends it; jobs that were started go on.
    """
    from cli.serve.running import run

    run(app, host, port, names)
