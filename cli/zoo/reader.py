"""`loco zoo reader`."""

from dataclasses import replace
from pathlib import Path

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, FOLDER, Command, Whole, pass_app


@click.command("reader", cls=Command)
@click.option(
    "--out", required=True, type=FOLDER, metavar="DIR", help="Folder of the run; resumed if it holds one."
)
@click.option(
    "--recipe",
    "name",
    type=click.Choice(("reader", "judge")),
    default="reader",
    show_default=True,
    help="Which of the two that come with the package to train: each has its own network, seed and faces.",
)
@click.option("--images", type=AT_LEAST_ONE, metavar="N", help="Images drawn in training; default: 1000000.")
@click.option(
    "--seed", type=Whole(min=0), metavar="N", help="Of faces, noise and weights; default: the recipe's."
)
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where the network is trained.",
)
@pass_app
def reader(app: App, /, out: Path, name: str, images: int | None, seed: int | None, device: str) -> None:
    """Train a reader of the attributes of rendered faces, a scorer.

    Writes checkpoints to DIR and, at the end, DIR/NAME.safetensors, which `--scorer` takes. Shown is the share of each
    attribute's variance that it reads from faces that it never saw (R2). Ctrl-C loses a minute at most: the same
    command goes on.
    """
    import torch

    from loco.errors import InputError
    from loco.zoo.train_reader import RECIPES, ReaderTrainer

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: there is no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"

    recipe = RECIPES[name]
    if images is not None:
        recipe = replace(recipe, images=images)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    out = out.expanduser().absolute()
    trainer = ReaderTrainer(recipe, out, device)
    with app.watch("training") as watch:
        watch.total(max(0, recipe.images - trainer.images))
        for line in trainer.run(progress=watch.advance):
            watch.say(f"{line['images']} images, {line['rate']} images/s, loss {line['loss']:.4f}")
    path = out / f"{name}.safetensors"
    card = trainer.export(path)
    rows = [{"attribute": one, "r2": r2} for one, r2 in zip(card.names, card.r2, strict=True)]
    app.table(
        rows,
        (
            Column("attribute", lambda row: row["attribute"]),
            Column("R2", lambda row: row["r2"], right=True),
        ),
    )
    app.say(f"use it with --scorer {path}")
