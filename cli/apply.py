"""`loco apply`."""

from typing import Any

import click

from cli.app import App
from cli.apply_options import apply_job, apply_options
from cli.engine_options import DRY_RUN
from cli.estimating import show_estimate
from cli.options import Command, pass_app
from cli.outcome import finish


@click.command(cls=Command)
@apply_options
@DRY_RUN
@pass_app
def apply(app: App, /, dry_run: bool, **options: Any) -> None:
    """Apply catalogued directions to any number of images.

    With --strength, every L multiplies the weighted sum of the directions, where a direction without
    :STRENGTH has weight 1. Without it, the numbers at the directions are the strengths themselves.

    A result is the image itself plus the change, at its own size, with its transparency, colour profile, orientation
    and metadata; to these is added that it was edited and how (docs/marking.md). Results that are there already are
    skipped. Ctrl-C loses no finished result: the same command goes on from there. Images that fail are named in the
    manifest and by `loco jobs show`; the exit code is then 3.

    \b
    loco apply --direction 3f9a01:4 --images photos --out edited
    loco apply --direction 3f9a01 --strength -4 --strength 4 --images photos --out edited
    loco apply --direction 3f9a01:4 --direction c07d2e:-2 --dataset portraits --out edited
    """
    job = apply_job(app, **options)
    if dry_run:
        show_estimate(app, job)
        return
    from flows.start import run as start

    with app.watch("apply") as watch:
        run = start(app.home, app.url, job, watch)
    finish(app, run, results=job.out)
