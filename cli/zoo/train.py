"""`loco zoo train`."""

import time
from pathlib import Path
from typing import Any

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FILE, FOLDER, Command, Whole, pass_app

MODEL = "model"
"""Folder of the exported pipeline in the folder of the run."""

_CHECKPOINT_SECONDS = 120.0


@click.command("train", cls=Command)
@click.option(
    "--out", required=True, type=FOLDER, metavar="DIR", help="Folder of the run; resumed if it holds one."
)
@click.option("--images", type=AT_LEAST_ONE, metavar="N", help="Training images planned; default: 200000.")
@click.option("--batch", type=AT_LEAST_ONE, metavar="N", help="Images a step; default: 16.")
@click.option(
    "--size",
    type=click.Choice(["32", "64"]),
    metavar="32|64",
    help="Height and width of the images; default: 32.",
)
@click.option("--seed", type=Whole(min=0), metavar="N", help="Of scenes, noise and weights; default: 0.")
@click.option("--subject", metavar="faces|houses", help="What is rendered; default: faces.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network is trained.",
)
@click.option(
    "--recipe",
    type=FILE,
    metavar="FILE",
    help="TOML file of size, channels, images, batch, rate, decay, pool, reuse, ema, seed, subject; options win.",
)
@click.option(
    "--export-only", is_flag=True, help="Write DIR/model from the last checkpoint and do not train."
)
@pass_app
def train(app: App, /, out: Path, device: str, recipe: Path | None, export_only: bool, **knobs: Any) -> None:
    """Train a denoiser on rendered scenes: faces, or houses.

    Writes checkpoints and curve.jsonl to DIR and, at the end, a diffusers pipeline with its card to DIR/model.
    Ctrl-C loses the last two minutes at most: the same command goes on from the checkpoint, with the run's own
    recipe where nothing else is said.
    """
    import torch

    from loco.errors import InputError
    from loco.recipes import read_recipe
    from loco.zoo.card import write_card
    from loco.zoo.train import Trainer, build_train_recipe, saved_recipe, training_facts

    out = out.expanduser().absolute()
    saved = saved_recipe(out)
    values = {} if saved is None else dict(vars(saved))
    values.update({} if recipe is None else read_recipe(recipe))
    values.update(
        {
            name: value if name == "subject" else int(value)
            for name, value in knobs.items()
            if value is not None
        }
    )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: there is no CUDA device; use --device cpu")
    if export_only and saved is None:
        training_facts(out)  # says what is missing
    trainer = Trainer(build_train_recipe(values), out, device)
    if not export_only:
        _follow(app, trainer)
    trainer.export(out / MODEL)
    facts = training_facts(out)
    write_card(out / MODEL, facts, {}, None)
    explained = facts["curve"][-1]["explained"] if facts["curve"] else None
    record = {"model": str(out / MODEL), **facts}
    app.show(
        record,
        {
            "model": out / MODEL,
            "images": facts["images"],
            "steps": facts["steps"],
            "seconds": facts["seconds"],
            "explained variance": explained,
        },
    )
    app.say(f"measure it with `loco zoo report --model {out / MODEL} --t 0.5 --write-card`")


def _follow(app: App, trainer: Any) -> None:
    with app.watch("training") as watch:
        watch.total(max(0, trainer.recipe.images - trainer.images))
        if trainer.images:
            watch.say(f"going on from {trainer.images} images")
        before, started = trainer.images, time.monotonic()
        for line in trainer.run(checkpoint_seconds=_CHECKPOINT_SECONDS, progress=watch.advance):
            rate = (line["images"] - before) / max(time.monotonic() - started, 1e-9)
            explained = ", ".join(f"{value:.3f}" for value in line["explained"])
            watch.say(
                f"{line['images']} images, {rate:.0f} images/s, loss {line['loss']:.4f}, explained variance {explained}"
            )
