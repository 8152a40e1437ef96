"""`loco score`."""

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, Command, pass_app, ranged
from cli.outcome import finish


@click.command(cls=Command)
@click.option(
    "--direction",
    "directions",
    required=True,
    multiple=True,
    metavar="ID",
    help="Direction to score, by the beginning of its id; repeatable.",
)
@click.option("--dataset", required=True, metavar="NAME", help="Registered dataset to score on.")
@click.option(
    "--strength",
    type=ranged("strength"),
    default=4.0,
    show_default=True,
    metavar="L",
    help="Strength of the edit.",
)
@click.option(
    "--steps", type=ranged("steps"), default=20, show_default=True, metavar="N", help="DDIM steps each way."
)
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all.")
@pass_app
def score(
    app: App, /, directions: tuple[str, ...], dataset: str, strength: float, steps: int, limit: int | None
) -> None:
    """Measure how directions do on other images of a dataset, each in its own region.

    Of each image: gain and leakage of the direction at that image, and how much the edit changes inside and
    outside of the region. What was scored before is skipped. An image without the feature has a small gain.

    \b
    loco score --direction 1a2b3c4d --dataset portraits --limit 100
    """
    from flows.jobs import ScoreJob
    from flows.score.job import score as run_score

    job = ScoreJob(directions, dataset, strength, steps, limit)
    with app.watch("score") as watch:
        run = run_score(app.home, app.url, job, watch)
    finish(app, run)
