"""`loco directions similar`."""

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, number, pass_app


@click.command("similar", cls=Command)
@click.argument("target", metavar="[ID|FILE]", required=False)
@click.option("--roi", metavar="NAME", help="Only among those of this region.")
@click.option("--model", metavar="NAME", help="Only among those of this model: its name or id.")
@click.option(
    "--limit", type=AT_LEAST_ONE, metavar="N", default=10, show_default=True, help="At most so many."
)
@click.option(
    "--duplicates",
    type=number,
    metavar="COSINE",
    help="Without ID: list the pairs that are alike at least so much, such as 0.98.",
)
@click.option(
    "--bases",
    "other",
    metavar="ID",
    help="Compare the whole basis of ID with that of this one: principal angles.",
)
@pass_app
def similar(
    app: App,
    target: str | None,
    roi: str | None,
    model: str | None,
    limit: int,
    duplicates: float | None,
    other: str | None,
) -> None:
    """Find the directions most like the direction ID, or like those in the basis file FILE.

    Likeness is the cosine between the vectors: 1 is the same edit, -1 the same edit backwards, and the sign does
    not matter for the order. The catalogue proposes candidates by their sketches, the basis files decide.
    """
    registry = app.registry()
    if (target is None) != (duplicates is not None):
        raise click.UsageError("give either an ID, or a FILE, or --duplicates")
    if target is None:
        pairs = registry.duplicates(float(duplicates or 0), roi=roi, model=model, limit=limit)
        app.table(
            pairs,
            (
                Column("one", lambda pair: pair.one.short, whole=True),
                Column("other", lambda pair: pair.other.short, whole=True),
                Column("region", lambda pair: pair.one.roi),
                Column("cosine", lambda pair: pair.cosine, right=True),
            ),
        )
        return
    if other is not None:
        angles = registry.principal_angles(target, other)
        app.show({"angles": angles}, {"angles in degrees": angles})
        return
    found = registry.similar(target, roi=roi, model=model, limit=limit)
    app.table(
        found,
        (
            Column("id", lambda one: one.direction.short, whole=True),
            Column("region", lambda one: one.direction.roi),
            Column("n", lambda one: one.direction.index, right=True),
            Column("t", lambda one: one.direction.t, right=True),
            Column("cosine", lambda one: one.cosine, right=True),
            Column("to", lambda one: one.query[:12] if one.query else ""),
        ),
    )
    if not found:
        app.say("nothing of the same shape is in the catalogue")
