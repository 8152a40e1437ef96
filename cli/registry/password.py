"""`loco registry password`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("password", cls=Command)
@click.argument("url", metavar="URL", required=False)
@pass_app
def password(app: App, url: str | None) -> None:
    """Keep the password of the catalogue at URL in the home, in a file that only its owner can read.

    Asked for on a terminal, else read from standard input. From then on the URL is given without a password, here, by
    workers of this home and in schedules; URL defaults to --registry. Nothing else stores it.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from registry.database import credentials

    url = url or app.url
    if url is None:
        raise click.UsageError("name the URL of a catalogue on a server")
    try:
        bare = credentials.without_password(make_url(url))
    except (ArgumentError, ValueError) as error:
        raise click.UsageError("URL: expected one such as postgresql://USER@HOST/DATABASE") from error
    word = click.prompt("password", hide_input=True, err=True)
    credentials.keep(app.home.root, bare.set(password=word).render_as_string(hide_password=False))
    file = str(credentials.secret_file(app.home.root))
    app.show({"url": str(bare), "file": file}, {"url": bare, "file": file})
