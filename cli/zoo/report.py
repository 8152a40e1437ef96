"""`loco zoo report`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.levels import LEVEL, SPELT, Level
from cli.options import AT_LEAST_ONE, Command, Whole, number, pass_app

if TYPE_CHECKING:
    from flows.engine.watch import Watch


@click.command("report", cls=Command)
@click.option(
    "--model",
    "source",
    default="zoo:faces32",
    show_default=True,
    metavar="SOURCE",
    help="Folder of a diffusers pipeline trained on the faces, or zoo:NAME.",
)
@click.option(
    "--t", type=LEVEL, metavar="T", help=f"Noise level; default: the model's recommended one{SPELT}."
)
@click.option(
    "--strength",
    "strengths",
    type=number,
    multiple=True,
    metavar="L",
    help="Strength of an edit, taken as + and -; repeatable; default: 4 and 8.",
)
@click.option("--faces", type=AT_LEAST_ONE, metavar="N", help="Held-out faces; default: 8, with --sweep 3.")
@click.option(
    "--dense",
    type=Whole(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Faces of which the whole Jacobian is formed, a minute each.",
)
@click.option("--sweep", is_flag=True, help="Compare the noise levels 0.3 to 0.7 instead.")
@click.option(
    "--write-card", is_flag=True, help="Write the figures, and T as recommended, to the model's card."
)
@pass_app
def report(
    app: App,
    /,
    source: str,
    t: Level | None,
    strengths: tuple[float, ...],
    faces: int | None,
    dense: int,
    sweep: bool,
    write_card: bool,
) -> None:
    """Measure a model on faces that it was not trained on.

    How well images come back from noise level T, how linear the model is along the directions found, how low
    the rank of its Jacobian is, and how local the edits are. Takes some minutes.
    """
    if sweep and (write_card or t is not None):
        raise click.UsageError("--sweep compares noise levels; it goes with neither --t nor --write-card")
    if not all(strengths):
        raise click.UsageError("--strength 0 changes nothing; pass another")
    from loco.models.card import read_card
    from loco.models.levels import resolved
    from loco.models.source import model_folder
    from loco.zoo import report as measures
    from loco.zoo.card import write_card as write

    folder = model_folder(source)
    card = read_card(folder)
    options: dict[str, Any] = {"strengths": strengths or measures.STRENGTHS}
    if faces is not None:
        options["faces"] = faces
    with app.watch("measuring") as watch:
        options["progress"] = _teller(watch)
        if sweep:
            rows = measures.sweep(folder, **options)
        else:
            figures = measures.report(folder, t=resolved(t, source, source), dense=dense, **options)
    if sweep:
        app.table(rows, _SWEEP)
        return
    if write_card:
        write(folder, card.extra.get("training") or {}, figures, figures["t"])
    variance = figures["explained_variance"]
    back = figures["reconstruction_psnr_db"]
    app.show(
        figures,
        {
            "model": folder,
            "t": f"{figures['t']:g} (step {figures['step']}, alpha_bar {figures['alpha_bar']:.3f})",
            "PSNR there and back": f"mean {_db(back['mean'])}, worst {_db(back['min'])}",
            "explained variance": {
                f"step {step}": value
                for step, value in zip(
                    variance["steps"],
                    next(value for key, value in variance.items() if key != "steps"),
                    strict=True,
                )
            },
            "rank ratio": figures["rank_ratio"],
            "energy of the top 20": figures["energy_top_20"],
            "asymmetry": figures["asymmetry"],
        },
    )
    if not app.json:
        click.echo()
        app.table(_lines(figures), _LINES)
    if write_card:
        app.say(f"wrote {folder / 'card.json'} and {folder / 'README.md'}")


def _teller(watch: "Watch") -> Callable[[int, int], None]:
    """A `Watch` as the report tells of its progress."""
    before = 0

    def tell(done: int, total: int) -> None:
        nonlocal before
        if not before:
            watch.total(total)
        watch.advance(done - before)
        before = done

    return tell


def _lines(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "roi": roi,
            "strength": strength,
            "cosine": line["cosine"],
            "norm_ratio": line["norm_ratio"],
            "locality": figures["locality"][roi][strength],
            **figures["directions"][roi],
        }
        for roi, lines in figures["linearity"].items()
        for strength, line in lines.items()
    ]


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"


_LINES: tuple[Column[dict[str, Any]], ...] = (
    Column("region", lambda one: one["roi"]),
    Column("strength", lambda one: one["strength"], right=True),
    Column("directions", lambda one: one["found"], right=True),
    Column("cosine", lambda one: one["cosine"]["median"], right=True),
    Column("least", lambda one: one["cosine"]["min"], right=True),
    Column("norm ratio", lambda one: one["norm_ratio"]["median"], right=True),
    Column("locality", lambda one: one["locality"], right=True),
    Column("gain", lambda one: one["gain"], right=True),
    Column("leakage", lambda one: one["leakage"], right=True),
)

_SWEEP: tuple[Column[dict[str, Any]], ...] = (
    Column("t", lambda one: one["t"], right=True),
    Column("step", lambda one: one["step"], right=True),
    Column("PSNR, dB", lambda one: one["psnr_db"], right=True),
    Column("cosine at strength", lambda one: one["cosine"]),
    Column("locality at strength", lambda one: one["locality"]),
    Column("gain", lambda one: one["gain"], right=True),
    Column("leakage", lambda one: one["leakage"], right=True),
    Column("retained", lambda one: one["retained"], right=True),
    Column("directions", lambda one: one["directions"], right=True),
    Column("refused", lambda one: one["refused"], right=True),
)
