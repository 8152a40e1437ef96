"""`loco directions name`."""

from typing import Any

import click

from cli.app import App, Column
from cli.directions.filters import asked, filtering
from cli.options import AT_LEAST_ONE, Command, pass_app
from cli.scoring import opened, scoring


@click.command("name", cls=Command)
@filtering
@click.option("--sort", metavar="[-]FIELD", help="Field to sort by, as for `list`.")
@click.option(
    "--limit", type=AT_LEAST_ONE, metavar="N", default=10, show_default=True, help="At most so many."
)
@click.option("--on", metavar="NAME", help="Dataset whose images are asked; default: that of --dataset.")
@scoring
@click.option("--dry-run", is_flag=True, help="Say the names and keep none.")
@pass_app
def name(
    app: App,
    /,
    limit: int,
    on: str | None,
    scorer: str,
    prompts: tuple[str, ...],
    images: int,
    steps: int,
    dry_run: bool,
    **filters: Any,
) -> None:
    """Name directions by what they change: "mouth opens, lips redder".

    Each direction is added to images, and taken away, at half its recommended strength, and a scorer reads both. What
    it reads differently beyond chance (a signed-rank test over images, corrected for the number of things read) and
    most becomes the direction's label, with the scorer as its author, in place of the one that this scorer gave before.
    Labels of people stay as they are, and what a person took away is not said again.

    \b
    loco directions name --dataset faces --roi mouth --scope dataset --scorer zoo:reader
    """
    from flows.studies.naming import name_directions

    dataset = on or filters["dataset"]
    if dataset is None:
        raise click.UsageError("say whose images are asked: --dataset NAME, or --on NAME")
    registry = app.registry()
    registry.dataset(dataset, pictured=False)
    found = registry.find(**asked(filters), limit=limit)
    if not found:
        app.say("no direction matches; `loco discover` finds some, fewer filters show more")
        return
    reads = opened(app, scorer, prompts)
    with app.watch("naming") as watch:
        named = name_directions(
            registry, reads, found, dataset, watch, images=images, steps=steps, keep=not dry_run
        )
    app.table(
        [one.row() for one in named],
        (
            Column("id", lambda row: row["direction"][:12], whole=True),
            Column("region", lambda row: row["roi"]),
            Column("added", lambda row: row["plus"] or "nothing beyond chance"),
            Column("taken away", lambda row: row["minus"] or "nothing beyond chance"),
            Column("agree", lambda row: row["score"], right=True),
            Column("kept", lambda row: row["kept"]),
        ),
    )
