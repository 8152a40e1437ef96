"""The prompt of `loco sql`: statements that end with a semicolon, errors in a line, Ctrl-D to leave."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cli.app import App
from loco.errors import LocoError

if TYPE_CHECKING:
    from registry.sql.question import Answer, Reader

_WORDS = {".quit": "leave", ".tables": "list the tables", ".help": "show this"}


def prompt(app: App, reader: "Reader", show: Callable[[App, "Answer"], None]) -> None:
    """Ask what is typed until the end of input; Ctrl-C ends the question, not the prompt."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lines can be edited, and called back

    app.say("SQL, to be read only; a statement ends with ; and .help tells more")
    lines: list[str] = []
    while True:
        try:
            lines.append(input("  ... " if lines else "loco> "))
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(err=True)
            lines.clear()
            continue
        text = "\n".join(lines).strip()
        if text in _WORDS or not text:
            lines.clear()
            if text == ".quit":
                return
            if text == ".help":
                for word, meaning in _WORDS.items():
                    app.say(f"{word:<8} {meaning}")
            if text != ".tables":
                continue
            text = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            text += "AND table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1;"
        if not text.endswith(";"):
            continue
        lines.clear()
        try:
            for answer in reader.ask(text):
                show(app, answer)
        except LocoError as error:
            app.say(f"error: {error}")
        except KeyboardInterrupt:
            app.say("interrupted")
