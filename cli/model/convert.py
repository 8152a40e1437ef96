"""`loco model convert`."""

from pathlib import Path

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FILE, FOLDER, Command, Whole, pass_app


@click.command("convert", cls=Command)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FOLDER)
@click.option(
    "--size",
    type=AT_LEAST_ONE,
    default=256,
    show_default=True,
    metavar="N",
    help="Height and width of its images.",
)
@click.option(
    "--head-channels",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Width of an attention head; default: 64, unless --heads.",
)
@click.option(
    "--heads", type=AT_LEAST_ONE, metavar="N", help="Attention heads, for a checkpoint that counts them."
)
@click.option("--new-order", is_flag=True, help="It was trained with use_new_attention_order.")
@click.option(
    "--schedule",
    type=click.Choice(("linear", "cosine")),
    default="linear",
    show_default=True,
    help="Noise schedule that it was trained under.",
)
@click.option(
    "--steps",
    type=Whole(min=2),
    default=1000,
    show_default=True,
    metavar="N",
    help="Training steps.",
)
@click.option(
    "--raw-clock",
    is_flag=True,
    help="Its network was told the step itself, not step * 1000 / --steps (rescale_timesteps=False).",
)
@pass_app
def convert(
    app: App,
    /,
    checkpoint: Path,
    out: Path,
    size: int,
    head_channels: int | None,
    heads: int | None,
    new_order: bool,
    schedule: str,
    steps: int,
    raw_clock: bool,
) -> None:
    """Convert CHECKPOINT, a .pt file of guided diffusion or P2 weighting, to the model folder OUT.

    The network's layout is read off its weights; the options say what is not in them. Nothing in the file is
    executed: one that holds more than tensors is refused.

    \b
    loco model convert ffhq_p2.pt ffhq-p2 --size 256
    """
    if heads is not None and head_channels is not None:
        raise click.UsageError("--heads and --head-channels say the same; pass one of them")
    from loco.models.adm import Spoken
    from loco.models.adm import convert as write
    from loco.models.card import read_card

    width = head_channels if heads is not None or head_channels is not None else 64
    folder = write(
        checkpoint, out, Spoken(size, width, heads, new_order, schedule, steps, rescaled=not raw_clock)
    )
    card = read_card(folder)
    app.show(
        {"folder": str(folder), "id": card.id, "family": card.family, "parameters": card.parameters},
        {"folder": folder, "id": card.id, "family": card.family, "weights": f"{card.parameters:,}"},
    )
    app.say(f"add it with `loco model add NAME {folder}`")
