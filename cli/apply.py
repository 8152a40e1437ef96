"""`loco apply`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App
from cli.apply_job import FORMATS, Weighted, build_job
from cli.options import AT_LEAST_ONE, FILE, FOLDER, LEVEL, Command, number, pass_app
from cli.outcome import finish
from loco.recipes import read_recipe


def direction(text: str) -> Weighted:
    """A type for options: a direction's id, with a number or without, `ID` or `ID:4`."""
    name, colon, strength = text.partition(":")
    if not name:
        raise click.BadParameter(f"expected ID or ID:STRENGTH, found {text!r}")
    return name, number(strength) if colon else None


@click.command(cls=Command)
@click.option(
    "--direction",
    "directions",
    type=direction,
    multiple=True,
    metavar="ID[:STRENGTH]",
    help="Direction to apply, by the beginning of its id; repeatable, the weighted sum is applied.",
)
@click.option("--images", type=FOLDER, metavar="DIR", help="Edit all images of this folder.")
@click.option("--dataset", metavar="NAME", help="Or: edit all images of this registered dataset.")
@click.option(
    "--out", required=True, type=FOLDER, metavar="DIR", help="Folder for the results and their manifest."
)
@click.option(
    "--strength",
    "strengths",
    type=number,
    multiple=True,
    metavar="L",
    help="Multiplies the directions' weights; negative turns the edit around; repeatable, one result each.",
)
@click.option("--steps", type=AT_LEAST_ONE, metavar="N", help="DDIM steps each way; default: 20.")
@click.option("--t", type=LEVEL, metavar="T", help="Noise level to edit at; default: the directions' own.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Format of the results; default: png.")
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all.")
@click.option(
    "--recipe",
    type=FILE,
    metavar="FILE",
    help='TOML file of directions = [["ID", 1.0]], strengths, steps, t, format; options win.',
)
@pass_app
def apply(
    app: App, /, images: Path | None, dataset: str | None, out: Path, recipe: Path | None, **options: Any
) -> None:
    """Apply catalogued directions to any number of images.

    With --strength, every L multiplies the weighted sum of the directions, where a direction without
    :STRENGTH has weight 1. Without it, the numbers at the directions are the strengths themselves.

    Results that are there already are skipped. Ctrl-C loses no finished result: the same command goes on from
    there. Images that fail are named by `loco jobs show`; the exit code is then 3.

    \b
    loco apply --direction 3f9a01:4 --images photos --out edited
    loco apply --direction 3f9a01 --strength -4 --strength 4 --images photos --out edited
    loco apply --direction 3f9a01:4 --direction c07d2e:-2 --dataset portraits --out edited
    """
    options["format"] = options.pop("format_")
    values = {} if recipe is None else read_recipe(recipe)
    job = build_job(images=images, dataset=dataset, out=out, options=options, recipe=values)
    from flows.apply import apply as run_apply

    with app.watch("apply") as watch:
        run = run_apply(app.home, app.url, job, watch)
    finish(app, run, results=job.out)
