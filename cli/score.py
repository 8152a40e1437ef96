"""`loco score`."""

from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.engine_options import DRY_RUN, work_of, work_options
from cli.estimating import show_estimate
from cli.options import AT_LEAST_ONE, Command, pass_app, ranged
from cli.outcome import finish

if TYPE_CHECKING:
    from flows.jobs import ScoreJob


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
@work_options
@DRY_RUN
@pass_app
def score(
    app: App,
    /,
    directions: tuple[str, ...],
    dataset: str,
    strength: float,
    steps: int,
    limit: int | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Measure how directions do on other images of a dataset, each in its own region.

    Of each image: gain and leakage of the direction at that image, how much the edit changes inside and outside of
    the region, and its cosine to the first-order change. What was scored before is skipped. Shown are the medians
    over the dataset's images at this strength and these steps; an image responds where the gain is at least 5 % of
    that where the direction was found: one without the feature does not.

    \b
    loco score --direction 1a2b3c4d --dataset portraits --limit 100
    """
    from flows.jobs import ScoreJob
    from flows.start import run as start

    job = ScoreJob(directions, dataset, strength, steps, limit, **work_of(options))
    if dry_run:
        show_estimate(app, job)
        return
    with app.watch("score") as watch:
        run = start(app.home, app.url, job, watch)
    _show(app, job)
    finish(app, run)


def _show(app: App, job: "ScoreJob") -> None:
    """What the scores come to, a line (or object) a direction."""
    from loco.ids import SHORT
    from loco.measure.scores import summary

    registry = app.registry()
    images = {image.id for image in registry.dataset(job.dataset).images}
    rows: list[dict[str, Any]] = []
    for direction in dict.fromkeys(registry.direction(name) for name in job.directions):
        latest = {
            one.image_id: one.figures
            for one in registry.scores(direction.id)
            if one.image_id in images
            and one.strength == job.strength
            and one.figures.get("steps") == job.steps
        }
        told = {"direction": direction.id, "roi": direction.roi, "strength": job.strength}
        rows.append(told | summary(list(latest.values()), direction.gain))
    names = ("images", "gain", "leakage", "cosine", "responding")
    app.table(
        rows,
        (
            Column("direction", lambda row: row["direction"][:SHORT], whole=True),
            Column("region", lambda row: row["roi"]),
            *(Column(name, lambda row, name=name: row[name], right=True) for name in names),  # type: ignore[misc]
        ),
    )
