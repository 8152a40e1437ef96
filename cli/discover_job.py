"""From options and a recipe file to a `DiscoverJob`: what `loco discover` and `loco schedule create` have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.app import App
from cli.engine_options import WORK_OPTIONS, work_of
from cli.levels import LEVEL, SPELT
from cli.options import AT_LEAST_ONE, FILE, ranged
from flows.jobs import AcrossJob, DiscoverJob
from loco.errors import InputError
from loco.recipes import ACROSS, DTYPES, METHODS, POINTS, DiscoverRecipe, build_recipe, read_recipe

if TYPE_CHECKING:
    from registry.records import ModelRecord

_Body = TypeVar("_Body", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--model", required=True, metavar="NAME", help="Registered model to ask."),
    click.option("--dataset", required=True, metavar="NAME", help="Registered dataset to go through."),
    click.option(
        "--roi",
        "rois",
        required=True,
        multiple=True,
        metavar="NAME",
        help="Region that has masks in the dataset, or NAME=box:x0,y0,x1,y1 as fractions of the image, or "
        "NAME=segment:FOLDER[#CLASS], or NAME=sam:FOLDER@x,y; repeatable.",
    ),
    click.option(
        "--t",
        type=LEVEL,
        metavar="T",
        help=f"Noise level to look at; default: the model's recommended one{SPELT}.",
    ),
    click.option(
        "--rank", type=ranged("rank"), metavar="N", help="Directions wanted in each region; default: 3."
    ),
    click.option(
        "--null-rank",
        type=ranged("null_rank"),
        metavar="N",
        help="Directions of the rest of the image to stay clear of; default: 5.",
    ),
    click.option(
        "--method",
        type=click.Choice(METHODS),
        help="How directions keep clear of the rest: projected off it, as published; or constrained, the greatest "
        "change inside over that outside, which costs the same and edits faces more locally; default: projected, "
        "with --across constrained.",
    ),
    click.option(
        "--steps", type=ranged("steps"), metavar="N", help="DDIM steps from the image to t; default: 20."
    ),
    click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all."),
    click.option(
        "--prompt",
        metavar="TEXT",
        help="What the model is told, for one that takes a prompt; default: nothing.",
    ),
    click.option("--negative", metavar="TEXT", help="What guidance leads away from; with --prompt."),
    click.option(
        "--guidance",
        type=ranged("guidance"),
        metavar="S",
        help="Scale of the guidance; default: the family's usual one.",
    ),
    click.option(
        "--edit-prompt",
        metavar="TEXT",
        help="Look for the direction that these words tell, instead of those the model knows.",
    ),
    click.option(
        "--edit-guidance",
        type=ranged("edit_guidance"),
        metavar="S",
        help="Scale of the edit's own guidance; default: 4.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        help="Type that the network computes in; with a half, all else stays in float32; default: float32.",
    ),
    click.option(
        "--rows",
        type=click.Choice(("pixels", "cells")),
        help="For a latent model: regions in pixels, through its decoder, or in latent cells, which is cheaper; "
        "default: pixels.",
    ),
    click.option(
        "--point",
        type=click.Choice(POINTS),
        help="Where the Jacobian is taken: at the inverted image, there with its noise rescaled or filled up to the "
        "size that the model learnt, or at the image with fresh noise; default: inverted.",
    ),
    click.option(
        "--draws",
        type=ranged("draws"),
        metavar="N",
        help="Points averaged, where their noise is drawn (filled, noised); default: 1.",
    ),
    click.option(
        "--recipe",
        type=FILE,
        metavar="FILE",
        help="TOML file of t, steps, rank, null_rank, tol, max_rounds, solver and the others; options win.",
    ),
    click.option(
        "--across",
        is_flag=True,
        help="Look for directions of the dataset: of all images together, each with a region of its own.",
    ),
    click.option(
        "--images-per-round",
        type=ranged("images_per_round"),
        metavar="N",
        help="With --across, on large sets: each round asks N of the images, each time others; default: all.",
    ),
    click.option(
        "--from-catalogue",
        "aligned",
        is_flag=True,
        default=None,
        help="With --across: put together what the catalogue has of each image under the same options, without the "
        "network.",
    ),
    click.option(
        "--toward",
        metavar="SCORER#NAME",
        help="With --across, which it implies: the direction along which this number of a scorer grows, such as "
        "zoo:reader#mouth_openness, one for each region.",
    ),
    click.option(
        "--prompts",
        multiple=True,
        metavar="NAME=YES|NO",
        help="With --toward a number of CLIP: the two texts that it compares an image with.",
    ),
    *WORK_OPTIONS,
    click.option(
        "--max-memory",
        type=ranged("max_memory"),
        metavar="GIB",
        help="Memory that the network's graph may take: sets how many vectors are differentiated at a time.",
    ),
)


def discover_options(body: _Body) -> _Body:
    """The options that say what to discover."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def discover_job(
    app: App,
    *,
    model: str,
    dataset: str,
    rois: tuple[str, ...],
    limit: int | None,
    recipe: Path | None,
    rescan: bool,
    max_memory: float | None,
    across: bool,
    toward: str | None,
    prompts: tuple[str, ...],
    measured: bool = True,
    **knobs: Any,
) -> DiscoverJob:
    """The job of these options; raises `InputError` for what cannot be.

    Where nothing says the level, it is measured, unless not `measured`.
    """
    from flows.engine.record import catalogue
    from loco.rois.layouts import RoiSpec

    for roi in rois:
        RoiSpec.parse(roi)
    work = work_of(knobs)
    record = catalogue(app.home, app.url).model(model)
    values = chosen_values(knobs, recipe)
    told: dict[str, Any] = {}
    if toward is not None:
        with app.watch("discover") as watch:
            watch.say(f"opening {toward.rpartition('#')[0]}")
            more, told = towards(toward, prompts)
        values |= more
    elif prompts:
        raise InputError("--prompts are for --toward a number of CLIP")
    if "t" not in values and record.recommended_t is None and measured:
        build_recipe(DiscoverRecipe, {"t": 0.5} | values)  # what cannot be costs no measurement
        from flows.studies.analyze import quick_level

        with app.watch("discover") as watch:
            values["t"] = quick_level(app.registry(), model, dataset, rois, watch)
    if across and not told:
        values = across_values(values)
    return (AcrossJob if across or told else DiscoverJob)(
        model=model,
        dataset=dataset,
        rois=tuple(dict.fromkeys(rois)),
        recipe=chosen_recipe(values, record),
        limit=limit,
        **work,
        rescan=rescan,
        max_memory=max_memory,
        **told,
    )


def towards(toward: str, prompts: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a recipe has toward the number `SCORER#NAME`, and what its job has for other processes to find it."""
    from loco.scorers.opening import open_scorer, split

    source, name = split(toward)
    if ":" not in source:
        source = str(Path(source).expanduser().absolute())
    scorer = open_scorer(source, prompts)
    number = f"{scorer.id}#{scorer.names[scorer.column(name)]}"
    return {"toward": number, "rank": 1}, {"scorer": source, "prompts": prompts}


def across_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a recipe for all images together, with the method that is best there where none is said."""
    return values if values.get("aligned") else {"method": ACROSS} | values


def chosen_values(knobs: dict[str, Any], file: Path | None) -> dict[str, Any]:
    """The values of options, then of the file."""
    values = {} if file is None else read_recipe(file)
    values.update({name: value for name, value in knobs.items() if value is not None})
    return values


def chosen_recipe(values: dict[str, Any], model: "ModelRecord") -> DiscoverRecipe:
    """The recipe of values, with the model's recommended t where they say none.

    Raises `InputError` where nothing says t, or a value is none.
    """
    from loco.models.levels import resolved

    if "t" not in values:
        if model.recommended_t is None:
            raise InputError(
                f"model {model.name!r} recommends no noise level; measure one with `loco analyze --model {model.name} "
                f"--use --out DIR`, or pass one with --t, for example --t 0.6"
            )
        values = values | {"t": model.recommended_t}
    return build_recipe(DiscoverRecipe, values | {"t": resolved(values["t"], model.name, model.source)})
