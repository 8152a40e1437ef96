"""`loco score`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.engine_options import DRY_RUN, work_of, work_options
from cli.estimating import show_estimate
from cli.options import AT_LEAST_ONE, Command, Whole, pass_app, ranged
from cli.outcome import finish
from loco.evidence import TRANSFER

if TYPE_CHECKING:
    from flows.jobs import ScoreJob


@click.command(cls=Command)
@click.option(
    "--direction",
    "directions",
    multiple=True,
    metavar="ID",
    help="Direction to score, by the beginning of its id; repeatable.",
)
@click.option(
    "--where",
    metavar="EXPRESSION",
    help="Or: all directions that this chooses, as in `loco directions list`; they are of one model, t and prompt.",
)
@click.option("--dataset", required=True, metavar="NAME", help="Registered dataset to score on.")
@click.option(
    "--strength",
    type=ranged("strength"),
    metavar="L",
    help="Measure an edit of this strength too, all the way down; default: first order alone.",
)
@click.option(
    "--steps", type=ranged("steps"), default=20, show_default=True, metavar="N", help="DDIM steps each way."
)
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all.")
@click.option(
    "--skip",
    type=Whole(min=0),
    default=0,
    metavar="N",
    help="Not the first N images of these: those that the directions were found on.",
)
@click.option(
    "--climbs",
    type=Whole(min=0),
    default=6,
    show_default=True,
    metavar="N",
    help="Images on which the strength is followed from the least that is seen to the end; 0 for none.",
)
@work_options
@DRY_RUN
@pass_app
def score(
    app: App,
    /,
    directions: tuple[str, ...],
    where: str | None,
    dataset: str,
    strength: float | None,
    steps: int,
    limit: int | None,
    skip: int,
    climbs: int,
    dry_run: bool,
    **options: Any,
) -> None:
    """Measure how directions do on other images of a dataset, each in its own region.

    By first order, one evaluation an image and direction: gain and leakage there, and the cosine of the change to the
    mean change of other images. What it comes to is kept with the direction: the share of images that it carries over
    to (`transfer`), that respond (their gain is at least 5 % of that where it was found) and that it leaves as they
    are, with intervals; and a recommended strength, which `loco apply` takes where none is given. Images without the
    region are such that it leaves as they are. What was scored before is skipped.

    With --strength an edit is measured too: how much it changes inside and outside of the region, and its cosine to
    the first-order change; shown are the medians.

    \b
    loco score --direction 1a2b3c4d --dataset portraits --limit 100
    loco score --where "roi = 'mouth' and leakage < 0.2" --dataset portraits --limit 64
    """
    from flows.jobs import ScoreJob
    from flows.start import run as start

    if where is not None:
        directions = (*directions, *(one.id for one in app.registry().find(where=where)))
    if not directions:
        raise click.UsageError(
            "Missing option '--direction' or '--where'." if where is None else "no direction matches --where"
        )
    job = ScoreJob(directions, dataset, strength, steps, limit, skip=skip, climbs=climbs, **work_of(options))
    if dry_run:
        show_estimate(app, job)
        return
    with app.watch("score") as watch:
        run = start(app.home, app.url, job, watch)
    _show(app, job)
    finish(app, run)


def _show(app: App, job: "ScoreJob") -> None:
    """What the scores come to, a line (or object) a direction."""
    if job.strength is None:
        _carried(app, job)
    else:
        _edited(app, job)


def _carried(app: App, job: "ScoreJob") -> None:
    """What the directions do on other images, as it is kept."""
    from loco.ids import SHORT

    registry = app.registry()
    directions = list(dict.fromkeys(registry.direction(name) for name in job.directions))
    known = registry.transfers(one.id for one in directions)
    rows = [
        {"direction": one.id, "roi": one.roi, **asdict(known[one.id])}
        for one in directions
        if one.id in known
    ]
    rows.sort(key=lambda row: (-(row["transfer"] or 0), -(row["transfer_cosine"] or 0), row["direction"]))
    app.table(
        rows,
        (
            Column("direction", lambda row: row["direction"][:SHORT], whole=True),
            Column("region", lambda row: row["roi"]),
            Column("images", lambda row: row["transfer_images"], right=True),
            *(
                Column(figure.title, lambda row, name=figure.name: row[name], right=True)  # type: ignore[misc]
                for figure in TRANSFER
            ),
        ),
    )


def _edited(app: App, job: "ScoreJob") -> None:
    """Medians of what edits of one strength do."""
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
