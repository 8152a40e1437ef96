"""`loco outputs video`."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.app import PARTIAL, App, Column
from cli.options import FOLDER, Command, pass_app

if TYPE_CHECKING:
    from flows.outputs.videos import Clip

FASTEST = 1000
"""Frames a second."""


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(
            f"expected frames a second, such as 24 or 30000/1001, found {text!r}"
        ) from error
    if not 0 < rate <= FASTEST:
        raise click.BadParameter(f"expected more than 0 and at most {FASTEST} frames a second, found {text}")
    return rate


@click.command("video", cls=Command)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--rate",
    callback=_rate,
    metavar="FPS",
    help="Take the images of folders for frames too, in the order of their names, so many a second.",
)
@click.option("--manifest", default="manifest", show_default=True, metavar="NAME", help="The run's manifest.")
@pass_app
def video(app: App, /, folder: Path, rate: Fraction | None, manifest: str) -> None:
    """Put edited frames together: one .mp4 for each video and edit, beside the frames.

    `loco apply` does it by itself for videos; this does it again where frames were changed since, and with --rate for
    folders of frames. A video has its source's times, size and sound. Flicker is the mean change of the change between
    neighbouring frames over that of the source: 0 stands still, 1 moves as much as the video does. A frame without an
    edit, because that failed, is the source's own, and counted. Where a video could not be made, the exit code is 3.

    \b
    loco apply --direction 3f9a01:4 --images clip.mp4 --out edited
    loco apply --direction 3f9a01:4 --images frames --out edited && loco outputs video edited --rate 24
    """
    from flows.outputs.videos import assemble

    said: list[str] = []
    failed: list[str] = []

    def note(text: str) -> None:
        said.append(text)
        app.say(f"note: {text}")

    def fail(source: str, file: str, cause: str) -> None:
        failed.append(file)
        app.say(f"failed: {source} -> {file}: {cause}")

    clips = assemble(folder, manifest, rate=rate, say=note, fail=fail)
    app.table(clips, _COLUMNS)
    if failed:
        click.get_current_context().exit(PARTIAL)
    if not clips and not said:
        app.say("no frames of a video here; --rate FPS takes the images of a folder for frames")


_COLUMNS: tuple[Column["Clip"], ...] = (
    Column("video", lambda one: one.file),
    Column("source", lambda one: one.source),
    Column("edit", lambda one: one.edit),
    Column("frames", lambda one: one.frames, right=True),
    Column("as they were", lambda one: one.kept, right=True),
    Column("flicker", lambda one: one.flicker, right=True),
)
