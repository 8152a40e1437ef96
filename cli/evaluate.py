"""`loco evaluate`."""

from pathlib import Path
from typing import Any

import click

from cli.app import App, Column
from cli.levels import LEVEL, SPELT, Level
from cli.options import AT_LEAST_ONE, FILE, Command, Whole, pass_app

_COLUMNS = (
    ("edit success", "edit_success"),
    ("transfer success", "transfer_success"),
    ("agreement", "agreement"),
    ("leakage", "leakage"),
    ("PSNR outside", "psnr_outside"),
    ("SSIM outside", "ssim_outside"),
)


@click.command(cls=Command)
@click.option("--model", "name", metavar="NAME", help="A registered model; default: the embedded one.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="A registered dataset; default: rendered faces, which --model takes too.",
)
@click.option(
    "--roi",
    "rois",
    multiple=True,
    metavar="ROI",
    help="Region, as for `loco discover`; repeatable; default: mouth, eyes and hair.",
)
@click.option(
    "--scorer",
    metavar="SOURCE",
    help="What judges meaning: zoo:judge (default, for the rendered faces), a folder, hub:OWNER/NAME, or none.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME[:KNOB=VALUE]",
    help="Method, some with knobs: loco:null_rank=10; repeatable; default: all.",
)
@click.option("--t", "level", type=LEVEL, metavar="T", help=f"Noise level; default: the model's{SPELT}.")
@click.option("--sources", type=AT_LEAST_ONE, metavar="N", help="Images that directions are found on.")
@click.option("--held-out", type=AT_LEAST_ONE, metavar="N", help="Images that they are judged on.")
@click.option(
    "--seed",
    type=Whole(min=0),
    metavar="N",
    help="Of the faces that are rendered; default: the benchmark's own.",
)
@click.option(
    "--claims",
    "claimed",
    is_flag=True,
    help="Ask the claims of the method's paper of this model, too: rank, linearity, composition and so on, yes or no.",
)
@click.option("--quick", is_flag=True, help="A few images and steps: everything runs, nothing is shown.")
@click.option(
    "--protocol", type=FILE, metavar="FILE", help="TOML of sizes and bars in place of the package's."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report."
)
@pass_app
def evaluate(
    app: App,
    /,
    name: str | None,
    dataset: str | None,
    rois: tuple[str, ...],
    scorer: str | None,
    methods: tuple[str, ...],
    level: Level | None,
    sources: int | None,
    held_out: int | None,
    seed: int | None,
    claimed: bool,
    quick: bool,
    protocol: Path | None,
    out: Path,
) -> None:
    """Judge edits of several methods on images that they were not found on, and write a report.

    Local edit success, transfer, PSNR and SSIM outside the region, agreement of meaning, linearity and cost, of LOCO
    Edit, of directions of the dataset, and of controls with one thing changed each, all at the same change inside the
    region and with intervals over images. The bars stand in a file and are printed with the result. DIR/index.html
    carries its pictures with it; evaluation.json and edits.parquet hold every number. The same command, interrupted,
    goes on. Exit code 3 where a bar is missed.

    \b
    loco evaluate --claims --out evidence
    loco evaluate --model mine --dataset photos --roi mouth --scorer none --out evidence
    """
    from dataclasses import replace

    from flows.studies.evaluate import run_evaluate
    from flows.studies.judged import FACES, EvaluateJob
    from loco.errors import InputError
    from loco.evaluation.claims import quick as quickly
    from loco.evaluation.claims import read_bars
    from loco.evaluation.protocol import FILE as PROTOCOL
    from loco.evaluation.protocol import QUICK, read_protocol
    from loco.models.levels import resolved

    if dataset is not None and not rois:
        raise click.UsageError("--dataset has regions of its own; name those to judge with --roi")
    if dataset is not None and seed is not None:
        raise click.UsageError("--seed is of the faces that are rendered; with --dataset none are")
    sizes: dict[str, int] = dict(QUICK) if quick else {}
    sizes |= {key: one for key, one in (("sources", sources), ("held_out", held_out)) if one is not None}
    told = read_protocol(protocol or PROTOCOL).sized(**sizes)
    bars = read_bars(protocol or PROTOCOL) if claimed else None
    if bars is not None and quick:
        bars = quickly(bars)
    registry = app.registry()
    model = None if name is None else registry.model(name)
    if model is None and dataset is not None:
        raise InputError("evaluate: a dataset of your own needs a model; add --model")
    judge = {"none": None, None: "zoo:judge" if dataset is None else None}.get(scorer, scorer)
    job = EvaluateJob(
        out=out.expanduser().absolute(),
        protocol=told,
        model=model,
        dataset=None if dataset is None else registry.dataset(dataset),
        rois=rois or FACES,
        scorer=judge,
        methods=methods,
        claims=bars,
        seed=seed,
    )
    if level is not None:
        source = (model.name, model.source) if model is not None else ("faces", "zoo:faces32")
        job = replace(job, t=level if isinstance(level, float) else float(resolved(level, *source)))
    with app.watch("evaluate") as watch:
        found = run_evaluate(job, watch)
    if app.json:
        app.show(found, found)
    else:
        _tell(app, found)
    app.say(f"the report is {job.out / 'index.html'}")
    if not all(one["holds"] for one in found["verdicts"]) and not quick:
        raise SystemExit(3)


def _tell(app: App, found: dict[str, Any]) -> None:
    def figure(line: dict[str, Any], key: str) -> str | None:
        one = line[key]
        return None if one["value"] is None else f"{one['value']:.3g} ({one['low']:.3g} to {one['high']:.3g})"

    app.table(
        found["table"],
        (
            Column("method", lambda line: line["method"]),
            Column("region", lambda line: line["roi"]),
            *(Column(title, lambda line, key=key: figure(line, key), right=True) for title, key in _COLUMNS),  # type: ignore[misc]
        ),
    )
    click.echo()
    app.table(
        found["verdicts"],
        (
            Column("method", lambda one: one["method"]),
            Column("what", lambda one: one["what"]),
            Column("bar", lambda one: one["bar"], right=True),
            Column("found", lambda one: one["found"], right=True),
            Column("", lambda one: "holds" if one["holds"] else "missed"),
        ),
    )
    if "claims" not in found:
        return
    click.echo()
    app.table(
        [one for claim in found["claims"]["claims"] for one in claim["answers"]],
        (
            Column("claim", lambda one: one["claim"]),
            Column("what", lambda one: one["what"]),
            Column("where", lambda one: one["setting"]),
            Column("bar", lambda one: "-" if one["bar"] is None else f"{one['sense']} {one['bar']:g}"),
            Column("found", lambda one: figure({"found": one}, "found"), right=True),
            Column("", lambda one: {True: "yes", False: "no", None: ""}[one["holds"]]),
        ),
    )
