"""`loco directions list`."""

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.directions.filters import asked, filtering
from cli.options import AT_LEAST_ONE, FILE, Command, pass_app
from loco.evidence import Place, shown_in

if TYPE_CHECKING:
    from loco.direction import Direction
    from registry.registry import Registry

_FIGURES = "\n".join(
    f"{figure.title:<8}  {figure.meaning}" for figure in shown_in("list") if figure.kind == "number"
)


@click.command(
    "list",
    cls=Command,
    help=f"""List directions with their evidence: those of datasets first, the strongest first.

\b
{_FIGURES}
          the last two are not known (-) where the region is more than 90 % of the image: sorted last
""",
)
@filtering
@click.option(
    "--sort",
    metavar="[-]FIELD",
    help="Field to sort by, with '-' before it for the greatest first; default: directions of datasets, then of "
    "images, each by -gain.",
)
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="At most so many; default: all.")
@click.option(
    "--by",
    metavar="FIELD,...",
    help="Count them by these fields instead, with their mean and extreme figures.",
)
@click.option("--count", "only_count", is_flag=True, help="Only say how many there are.")
@click.option(
    "--out", type=FILE, metavar="FILE", help="Write them to a file: .csv, .parquet, .arrow or .jsonl."
)
@pass_app
def list_directions(app: App, /, by: str | None, only_count: bool, out: Path | None, **filters: Any) -> None:
    """List directions with their evidence."""
    registry = app.registry()
    filters = asked(filters)
    if sum((by is not None, only_count, out is not None)) > 1:
        raise click.UsageError("--by, --count and --out exclude each other")
    if only_count:
        found = registry.count(**filters)
        app.show({"count": found}, {"directions": found})
    elif by is not None:
        _groups(app, registry, by, filters)
    elif out is not None:
        from registry.index import outputs

        out = out.expanduser().absolute()
        data = registry.table(**filters)
        outputs.write(data, out)
        app.show({"directions": data.num_rows, "file": str(out)}, {"directions": data.num_rows, "file": out})
    else:
        _list(app, registry, filters)


def _list(app: App, registry: "Registry", filters: dict[str, Any]) -> None:
    from loco.direction import Direction

    found = registry.find(**filters)
    if app.json:
        labels = registry.labels() if found else {}
        app.table(({**vars(one), "labels": labels.get(one.id, [])} for one in found), ())
        return
    # Names and labels cost queries, and programs get the images' ids with the rest.
    names = registry.image_names({one.image_id for one in found}) if found else {}
    labels = registry.labels() if found else {}
    places: tuple[Place, ...] = (
        ("list", "across") if any(one.scope == "dataset" for one in found) else ("list",)
    )
    columns: tuple[Column[Direction], ...] = (
        Column[Direction]("id", lambda one: one.short, whole=True),
        Column[Direction]("region", lambda one: one.roi),
        Column[Direction]("n", lambda one: one.index, right=True),
        Column[Direction]("image", lambda one: _found_on(one, names)),
        Column[Direction]("t", lambda one: one.t, right=True),
        *(
            Column[Direction](figure.title, attrgetter(figure.name), right=figure.kind == "number")
            for figure in shown_in(*places)
        ),
    )
    if any(one.id in labels for one in found):
        columns = (*columns, Column[Direction]("labels", lambda one: labels.get(one.id, ())))
    app.table(found, columns)
    if not found:
        app.say("no direction matches; `loco discover` finds some, fewer filters show more")


def _found_on(direction: "Direction", names: dict[str, str]) -> str:
    from loco.ids import SHORT

    name = names.get(direction.image_id, direction.image_id[:SHORT])
    return f"{name}, {direction.images} images" if direction.scope == "dataset" else name


def _groups(app: App, registry: "Registry", by: str, filters: dict[str, Any]) -> None:
    names = [name.strip() for name in by.split(",")]
    groups = registry.grouped(*names, **filters)
    shown = (
        *dict.fromkeys(names),
        "count",
        "converged_count",
        *(
            f"{figure.name}_{part}"
            for figure in shown_in("groups")
            for part in ("mean", "max" if figure.better == "more" else "min")
        ),
    )
    app.table(groups, [_figure(name, right=name not in names) for name in shown])
    if not groups:
        app.say("no direction matches; `loco discover` finds some, fewer filters show more")


def _figure(name: str, *, right: bool) -> Column[dict[str, Any]]:
    title = name.removesuffix("_count").replace("_", " ")
    return Column(title, lambda group: group[name], right=right)
