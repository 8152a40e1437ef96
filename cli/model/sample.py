"""`loco model sample`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FOLDER, Command, Whole, pass_app, ranged


@click.command("sample", cls=Command)
@click.argument("name")
@click.argument("out", type=FOLDER)
@click.option("--count", type=AT_LEAST_ONE, default=4, show_default=True, metavar="N", help="Images to draw.")
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the first one.",
)
@click.option(
    "--steps",
    type=ranged("steps"),
    default=50,
    show_default=True,
    metavar="N",
    help="DDIM steps from pure noise.",
)
@click.option(
    "--prompt", default="", metavar="TEXT", help="What the model is told, for one that takes a prompt."
)
@click.option("--negative", default="", metavar="TEXT", help="What guidance leads away from.")
@click.option(
    "--guidance",
    type=ranged("guidance"),
    metavar="S",
    help="Scale of the guidance; default: the family's usual one.",
)
@pass_app
def sample(
    app: App,
    /,
    name: str,
    out: Path,
    count: int,
    seed: int,
    steps: int,
    prompt: str,
    negative: str,
    guidance: float | None,
) -> None:
    """Draw images from the model NAME into the folder OUT, one a seed.

    The folder can be added as a dataset: directions are then found on images of the model's own.

    \b
    loco model sample faces drawn --count 8
    """
    from flows.studies.draw import draw
    from loco.recipes import DiscoverRecipe

    record = app.registry().model(name)
    # Of the recipe only its words matter here.
    words = DiscoverRecipe(t=0.5, prompt=prompt, negative=negative, guidance=guidance)
    with app.watch("sample") as watch:
        for path in draw(record, words, out, range(seed, seed + count), steps, watch):
            app.show({"image": str(path)}, {"image": path})
