"""The root of the command line, and the one place where errors end."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.analyze import analyze
from cli.apply import apply
from cli.audit import audit
from cli.bench import bench
from cli.dataset import dataset
from cli.demo import demo
from cli.directions import directions
from cli.discover import discover
from cli.evaluate import evaluate
from cli.jobs import jobs
from cli.model import model
from cli.options import Group, command_of, failed
from cli.outputs import outputs
from cli.registry import registry
from cli.schedule import schedule
from cli.score import score
from cli.serve import serve
from cli.server import server
from cli.sql import sql
from cli.streams import prepare
from cli.token import token
from cli.worker import worker
from cli.zoo import zoo
from loco.errors import InputError, LocoError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_ITEMS = "finished items are kept, the same command goes on from there"
KEPT = dict.fromkeys(("discover", "apply", "score", "demo", "jobs resume"), _ITEMS) | {
    "evaluate": "methods that are measured are kept, the same command goes on from there",
    "analyze": "finished noise levels are kept, the same command goes on from there",
    **dict.fromkeys(
        ("audit", "directions name"), "what was read is kept, the same command goes on from there"
    ),
    "zoo reader": "what was trained until the last checkpoint is kept, the same command goes on from there",
    "zoo train": "what was trained until the last checkpoint is kept, the same command goes on from there",
    "directions import": "what was taken in is kept, the same command goes on from there",
    "registry copy": "nothing was copied, all or nothing is; the same command begins from the start",
    "schedule run": "a run that was handed over goes on in the worker, `loco jobs list` shows it; the same command "
    "asks for one more",
    "serve": "jobs that were started on the page go on, `loco jobs list` shows them",
    "worker": "what was finished is kept, the next worker goes on from there",
}
"""What Ctrl-C leaves of a command that goes on from there."""
NOTHING_KEPT = "the same command begins from the start"


class Root(Group):
    """The root group. Errors that a user can do something about end here; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; report an error of ours or Ctrl-C and exit with its code."""
        try:
            return super().invoke(ctx)
        except LocoError as error:
            kind, message, code = type(error).__name__, str(error), error.exit_code
        except KeyboardInterrupt:
            kind, code = "Interrupted", INTERRUPTED
            message = f"interrupted; {KEPT.get(command_of(ctx), NOTHING_KEPT)}"
        except OSError:
            if _in_a_folder():
                raise
            kind, code = "InputError", InputError.exit_code
            message = "the current folder is gone; change to one that exists, then run the same command again"
        failed(ctx, kind, message)
        ctx.exit(code)


def _in_a_folder() -> bool:
    """Whether the current folder exists."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


@click.group(cls=Root, context_settings={"max_content_width": 100})
@click.version_option(package_name="loco-edit-service", message="loco %(version)s")
def root() -> None:
    """Find the local edits that a diffusion model knows, keep them in a catalogue, apply them to images.

    Begin with `loco demo`. On images of your own: `loco model add`, `loco dataset add`, `loco discover`,
    `loco directions list`, `loco apply`.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with failed items.
    """


for _command in (
    demo,
    model,
    dataset,
    discover,
    directions,
    sql,
    apply,
    outputs,
    score,
    serve,
    token,
    jobs,
    schedule,
    worker,
    server,
    registry,
    analyze,
    audit,
    evaluate,
    bench,
    zoo,
):
    root.add_command(_command)


def main() -> None:
    """Entry point of `loco`."""
    prepare()
    try:
        root(prog_name="loco")
    except LocoError as error:  # of the help text, say, which no command shows
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
