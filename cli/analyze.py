"""`loco analyze`."""

from pathlib import Path

import click

from cli.app import App, Column
from cli.levels import LEVEL, SPELT, Level
from cli.options import AT_LEAST_ONE, Command, Whole, pass_app


@click.command(cls=Command)
@click.option("--model", "name", required=True, metavar="NAME", help="A registered model.")
@click.option(
    "--dataset", metavar="NAME", help="Images to look at; default: pictures the model draws itself."
)
@click.option(
    "--roi",
    "rois",
    multiple=True,
    metavar="ROI",
    help="Region, as for `loco discover`; repeatable; default: a box in the middle.",
)
@click.option(
    "--t",
    "levels",
    type=LEVEL,
    multiple=True,
    metavar="T",
    help=f"Noise level; repeatable; default: 0.1 to 0.9{SPELT}.",
)
@click.option(
    "--images", type=AT_LEAST_ONE, default=8, show_default=True, metavar="N", help="Images looked at."
)
@click.option(
    "--points",
    type=Whole(min=0),
    default=15,
    show_default=True,
    metavar="N",
    help="Points with fresh noise that linearity is averaged over, as in the paper.",
)
@click.option(
    "--dense",
    type=Whole(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Of these, how many have their whole Jacobian formed, for the rank (the paper: 15); half a minute each.",
)
@click.option("--no-dense", is_flag=True, help="Leave out what needs whole Jacobians.")
@click.option("--others", is_flag=True, help="Also the Jacobians of a U-Net's middle block.")
@click.option("--use", is_flag=True, help="Make the recommended t the model's default for `loco discover`.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of tables and figures.",
)
@pass_app
def analyze(
    app: App,
    /,
    name: str,
    dataset: str | None,
    rois: tuple[str, ...],
    levels: tuple[Level, ...],
    images: int,
    points: int,
    dense: int,
    no_dense: bool,
    others: bool,
    use: bool,
    out: Path,
) -> None:
    """Measure how low-rank and how linear the model NAME is, noise level by noise level, and recommend one.

    Rank ratio, asymmetry, norm ratio and cosine as in the paper, at points with fresh noise and at inverted
    images; the linear range of directions found, and from it the middle of the levels at which an edit can be large
    before it stops being linear. Tables (JSON, Parquet) and figures
    (PNG, SVG) go to DIR. Finished levels are kept in the home's cache: the same command, interrupted, goes on.

    \b
    loco analyze --model faces --dataset portraits --roi mouth --t 0.4 --t 0.6 --out analysis
    """
    from flows.studies.analyze import AnalyzeJob, run_analyze

    wanted = tuple(one if isinstance(one, float) else _level(app, name, one) for one in levels)
    job = AnalyzeJob(name, dataset, rois, wanted, images, points, 0 if no_dense else dense, others, use, out)
    with app.watch("analyze") as watch:
        rows, recommended = run_analyze(app.registry(), job, watch)
    app.table(
        rows,
        (
            Column("t", lambda row: row["t"], right=True),
            *(
                Column(title, lambda row, key=key: row.get(key), right=True)  # type: ignore[misc]
                for title, key in (
                    ("log SNR", "log_snr"),
                    ("rank ratio", "noised_rank_ratio"),
                    ("inverted", "rank_ratio"),
                    ("noise", "noise_size"),
                    ("asymmetry", "asymmetry"),
                    ("linear to", "linear_range"),
                    ("gain", "gain"),
                    ("leakage", "leakage"),
                    ("reach", "reach"),
                )
            ),
        ),
    )
    app.say(f"recommended t: {recommended:g}; tables and figures are in {out}")


def _level(app: App, name: str, level: Level) -> float:
    from loco.models.levels import resolved

    record = app.registry().model(name)
    return float(resolved(level, record.name, record.source))
