"""`loco discover`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FILE, LEVEL, Command, pass_app
from cli.outcome import finish
from flows.jobs import DiscoverJob
from loco.errors import InputError
from loco.recipes import DiscoverRecipe, build_recipe, read_recipe


@click.command(cls=Command)
@click.option("--model", required=True, metavar="NAME", help="Registered model to ask.")
@click.option("--dataset", required=True, metavar="NAME", help="Registered dataset to go through.")
@click.option(
    "--roi",
    "rois",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Region that has masks in the dataset, or NAME=box:x0,y0,x1,y1 as fractions of the image; repeatable.",
)
@click.option(
    "--t", type=LEVEL, metavar="T", help="Noise level to look at; default: the model's recommended one."
)
@click.option("--rank", type=AT_LEAST_ONE, metavar="N", help="Directions wanted in each region; default: 3.")
@click.option(
    "--null-rank",
    type=click.IntRange(min=0),
    metavar="N",
    help="Directions of the rest of the image to stay clear of; default: 5.",
)
@click.option("--steps", type=AT_LEAST_ONE, metavar="N", help="DDIM steps from the image to t; default: 20.")
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all.")
@click.option(
    "--recipe",
    type=FILE,
    metavar="FILE",
    help="TOML file of t, steps, rank, null_rank, tol, max_rounds, min_retained, seed, dtype; options win.",
)
@pass_app
def discover(
    app: App,
    /,
    model: str,
    dataset: str,
    rois: tuple[str, ...],
    limit: int | None,
    recipe: Path | None,
    **knobs: Any,
) -> None:
    """Find the edits that a model knows in the regions of a dataset's images.

    What is found is catalogued with its evidence. Images whose directions are known already are skipped.
    Ctrl-C loses no finished image: the same command goes on from there. Images that fail are named by `loco
    jobs show`; the exit code is then 3.

    \b
    loco discover --model faces --dataset portraits --roi hair --roi mouth --limit 10
    """
    from flows.runs import catalogue
    from loco.dataset import RoiSpec

    for roi in rois:
        RoiSpec.parse(roi)
    recommended_t = catalogue(app.home, app.url).model(model).recommended_t
    job = DiscoverJob(
        model=model,
        dataset=dataset,
        rois=tuple(dict.fromkeys(rois)),
        recipe=chosen_recipe(knobs, recipe, recommended_t, model),
        limit=limit,
    )
    from flows.discover import discover as run_discover

    with app.watch("discover") as watch:
        run = run_discover(app.home, app.url, job, watch)
    finish(app, run)


def chosen_recipe(
    knobs: dict[str, Any], file: Path | None, recommended_t: float | None, model: str
) -> DiscoverRecipe:
    """The recipe of options, then the file, then the model's recommended t, then the defaults.

    Raises `InputError` where nothing says t, or a value is none.
    """
    values = {} if file is None else read_recipe(file)
    values.update({name: value for name, value in knobs.items() if value is not None})
    if "t" not in values:
        if recommended_t is None:
            raise InputError(
                f"model {model!r} recommends no noise level; pass one with --t, for example --t 0.6"
            )
        values["t"] = recommended_t
    return build_recipe(DiscoverRecipe, values)
