"""`loco audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.apply_options import direction
from cli.options import AT_LEAST_ONE, FILE, Command, pass_app
from cli.scoring import opened, scoring

if TYPE_CHECKING:
    from flows.studies.meaning import Audited


@click.command(cls=Command)
@click.option(
    "--direction",
    "directions",
    type=direction,
    required=True,
    multiple=True,
    metavar="ID[:STRENGTH]",
    help="Direction to add and to take away, and how much; default: its recommended strength; repeatable.",
)
@click.option("--dataset", required=True, metavar="NAME", help="Registered dataset whose images are edited.")
@scoring
@click.option(
    "--top",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Only the N numbers of each direction that move most; default: all.",
)
@click.option("--out", type=FILE, metavar="FILE", help="Write the table: .csv, .parquet, .arrow or .jsonl.")
@pass_app
def audit(
    app: App,
    /,
    directions: tuple[tuple[str, float | None], ...],
    dataset: str,
    scorer: str,
    prompts: tuple[str, ...],
    images: int,
    steps: int,
    top: int | None,
    out: Path | None,
) -> None:
    """Tell how edits move what a scorer says of images: which move a classifier's answers, and should not.

    Each direction is added to images of the dataset, and taken away, at its strength. Of each of the scorer's numbers
    the table has the mean change with its 95 % bootstrap interval over images, the share of images that move so, and
    the probability of that by chance (signed-rank test, corrected for the number of numbers). Changes of an attribute
    reader are fractions of the attribute's range, those of classifiers and CLIP log-odds.

    \b
    loco audit --scorer zoo:reader --direction smile@prod --dataset faces
    """
    from flows.studies.meaning import audit as ask

    registry = app.registry()
    chosen = [(registry.direction(name), strength) for name, strength in dict(directions).items()]
    registry.dataset(dataset, pictured=False)
    reads = opened(app, scorer, prompts)
    with app.watch("audit") as watch:
        found = ask(registry, reads, chosen, dataset, watch, images=images, steps=steps)
    rows = [row for one in found for row in rows_of(one)[:top]]
    if out is not None:
        import pyarrow

        from registry.index import outputs

        out = out.expanduser().absolute()
        outputs.write(pyarrow.Table.from_pylist(rows), out)
        app.show({"rows": len(rows), "file": str(out)}, {"rows": len(rows), "file": out})
        return
    app.table(
        rows,
        (
            Column("direction", lambda row: row["direction"][:12], whole=True),
            Column("region", lambda row: row["roi"]),
            Column("number", lambda row: row["number"]),
            Column("added", lambda row: row["plus"], right=True),
            Column("interval", lambda row: f"{row['plus_low']:+.3f} to {row['plus_high']:+.3f}"),
            Column("taken away", lambda row: row["minus"], right=True),
            Column("agree", lambda row: row["plus_agreeing"], right=True),
            Column("chance", lambda row: f"{min(row['plus_chance'], row['minus_chance']):.1g}", right=True),
        ),
    )
    app.say(f"changes are in units of {reads.unit}, over up to {images} images of {dataset}")


def rows_of(one: "Audited") -> list[dict[str, Any]]:
    """A row for each of the scorer's numbers, what moves most first."""
    rows = [
        {
            "direction": one.direction.id,
            "roi": one.direction.roi,
            "strength": one.strength,
            "images": one.images,
            "number": plus.name,
            **{
                f"{sign}{ending}": getattr(moved, name)
                for sign, moved in (("plus", plus), ("minus", minus))
                for ending, name in (
                    ("", "change"),
                    ("_low", "low"),
                    ("_high", "high"),
                    ("_agreeing", "agreeing"),
                    ("_chance", "chance"),
                )
            },
        }
        for plus, minus in zip(one.plus, one.minus, strict=True)
    ]
    return sorted(rows, key=lambda row: -max(abs(row["plus"]), abs(row["minus"])))
