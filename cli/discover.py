"""`loco discover`."""

from typing import Any

import click

from cli.app import App
from cli.discover_job import discover_job, discover_options
from cli.engine_options import DRY_RUN
from cli.estimating import show_estimate
from cli.options import Command, pass_app
from cli.outcome import finish
from flows.jobs import AcrossJob


@click.command(cls=Command)
@discover_options
@click.option("--rescan", is_flag=True, help="Look first for images that are new in the dataset's folder.")
@click.option(
    "--score/--no-score",
    default=True,
    help="With --across: score what is found on images behind the first --limit N, as `loco score` does (default).",
)
@DRY_RUN
@pass_app
def discover(app: App, /, dry_run: bool, score: bool, **options: Any) -> None:
    """Find the edits that a model knows in the regions of a dataset's images.

    What is found is catalogued with its evidence. Images whose directions are known already are skipped.
    Ctrl-C loses no finished image: the same command goes on from there. Images that fail are named by `loco
    jobs show`; the exit code is then 3.

    With --across it finds directions of the dataset instead: those that move a region in all images at once, with
    gain and leakage as medians over them, the share that responds, and how far two halves of the images agree. They
    are then scored on up to 64 other images of the dataset, if --limit leaves some: how they carry over, and how
    strong is right.

    \b
    loco discover --model faces --dataset portraits --roi hair --roi mouth --limit 10
    loco discover --model faces --dataset portraits --roi mouth --across --workers 2
    """
    job = discover_job(app, measured=not dry_run, **options)
    if dry_run:
        show_estimate(app, job)
        return
    from flows.start import run as start

    with app.watch(job.kind) as watch:
        run = start(app.home, app.url, job, watch)
        if score and isinstance(job, AcrossJob):
            from flows.score.held_out import scoring_of

            scoring, told = scoring_of(app.home, app.registry(), job, run)
            if scoring is not None:
                watch.say(told)
                start(app.home, app.url, scoring, watch)
    finish(app, run)
