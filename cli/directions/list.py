"""`loco directions list`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.directions.filters import asked, filtering
from cli.options import AT_LEAST_ONE, FILE, Command, pass_app
from loco.evidence import FIGURES, TRANSFER, shown_in
from loco.figure import Place

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
    help="Field to sort by, with '-' before it for the greatest first; it is shown. transfer: the best first. Default: "
    "directions of datasets, then of images, each by -gain.",
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


_NAMED = {
    "image_name": "image",
    "dataset": "dataset",
    "model_name": "model",
    "label": "label",
    "alias": "alias",
}


def _list(app: App, registry: "Registry", filters: dict[str, Any]) -> None:
    from loco.direction import Direction
    from registry import shapes
    from registry.index.selection import sorted_by

    found = registry.find(**filters)
    key = None if filters["sort"] is None else sorted_by(filters["sort"])
    beside = registry.beside(found) if found else {}
    if app.json:
        labels = registry.labels() if found else {}
        app.table(
            (shapes.direction(one, labels, beside) for one in found),
            (),
        )
        return

    def told(name: str) -> Callable[[Direction], object]:
        return lambda one: beside.get(one.id, {}).get(name, getattr(one, name, None))

    places: tuple[Place, ...] = (
        ("list", "across") if any(one.scope == "dataset" for one in found) else ("list",)
    )
    figures = shown_in(*places)
    titles = (
        {figure.name: figure.title for figure in (*FIGURES, *figures, *TRANSFER)}
        | _NAMED
        | {"log_snr": "log SNR"}
    )
    scored = [one.name for one in TRANSFER if "list" in one.places and any(map(told(one.name), found))]
    labelled = [name for name in ("label", "alias") if any(map(told(name), found))]
    names = ["dataset", "model_name", "t", *(figure.name for figure in figures), *scored, *labelled]
    if len({one.model for one in found}) > 1 or filters["snr"] or filters["alpha_bar"]:
        names.insert(3, "log_snr")  # t means something else under every schedule
    if key not in {None, "id", "roi", "index", "image_name", *names}:
        names.insert(3, str(key))  # what they are sorted by, before the figures
    columns: tuple[Column[Direction], ...] = (
        Column[Direction]("id", lambda one: one.short, whole=True),
        Column[Direction]("region", lambda one: one.roi),
        Column[Direction]("n", lambda one: one.index, right=True),
        Column[Direction]("image", lambda one: _found_on(one, beside)),
        *(
            Column[Direction](
                titles.get(name, name.replace("_", " ")),
                told(name),
                right=name not in _NAMED and name != "converged",
            )
            for name in names
        ),
    )
    app.table(found, columns)
    if not found:
        app.say("no direction matches; `loco discover` finds some, fewer filters show more")


def _found_on(direction: "Direction", beside: dict[str, dict[str, Any]]) -> str:
    from loco.ids import SHORT

    if direction.scope == "dataset":
        return f"{direction.images} images"
    return beside.get(direction.id, {}).get("image_name") or direction.image_id[:SHORT]


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
