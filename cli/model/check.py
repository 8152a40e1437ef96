"""`loco model check`."""

from dataclasses import asdict

import click

from cli.app import PARTIAL, App, Column
from cli.levels import LEVEL, SPELT, Level
from cli.options import Command, pass_app, ranged


@click.command("check", cls=Command)
@click.argument("name")
@click.option(
    "--t",
    type=LEVEL,
    metavar="T",
    help=f"Noise level; default: the model's recommended one, else 0.5{SPELT}.",
)
@click.option(
    "--steps",
    type=ranged("steps"),
    default=20,
    show_default=True,
    metavar="N",
    help="DDIM steps to T and back.",
)
@click.option(
    "--prompt", default="", metavar="TEXT", help="What the model is told, for one that takes a prompt."
)
@click.option(
    "--guidance",
    type=ranged("guidance"),
    metavar="S",
    help="Scale of the guidance; default: the family's usual one.",
)
@click.option(
    "--dtype",
    type=click.Choice(("float32", "float64", "bfloat16", "float16")),
    default="float32",
    show_default=True,
    help="Floating-point type to compute in.",
)
@pass_app
def check(
    app: App, /, name: str, t: Level | None, steps: int, prompt: str, guidance: float | None, dtype: str
) -> None:
    """Measure on the model NAME the identities that hold for any weights.

    Whether it was understood: its answers, its derivatives, and that a direction found is found again. The exit
    code is 3 when one of them does not hold. How well sampling undoes inversion, and whether a direction works both
    ways, are figures of the model, told with what is usual.

    \b
    loco model check faces --t 0.5
    """
    from loco.models.levels import resolved
    from loco.recipes import DiscoverRecipe

    record = app.registry().model(name)
    usual = record.recommended_t if record.recommended_t is not None else 0.5
    level = usual if t is None else resolved(t, name, record.source)
    recipe = DiscoverRecipe(
        t=level, steps=steps, max_rounds=3, tol=0.05, dtype=dtype, prompt=prompt, guidance=guidance
    )
    from flows.device.models import device, open_model
    from loco.diffusion.guidance import under
    from loco.models.check import check as measure

    denoiser = under(open_model(record, dtype), recipe)
    with app.watch("check") as watch:
        findings = measure(
            denoiser,
            recipe,
            model=record.id,
            device=device(),
            progress=lambda text: watch.say(f"measured: {text}"),
        )
    app.table(
        [asdict(finding) | {"holds": finding.holds} for finding in findings],
        (
            Column("identity", lambda one: one["name"]),
            Column("measured", lambda one: one["value"], right=True),
            Column("bound", _bound, right=True),
            Column("holds", lambda one: "" if one["bound"] is None else one["holds"]),
        ),
    )
    if not all(finding.holds for finding in findings):
        click.get_current_context().exit(PARTIAL)


def _bound(row: dict[str, object]) -> str:
    if row["bound"] is None:
        return f"usual: {row['usual']}"
    return f"{'<=' if row['at_most'] else '>='} {row['bound']:g}"
