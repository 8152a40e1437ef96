"""`loco jobs list`."""

from collections.abc import Mapping
from typing import Any

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, pass_app

_MINUTES = slice(len("2026-"), len("2026-11-21T10:00"))
"""Of a time, what people are shown."""


@click.command("list", cls=Command)
@click.option(
    "--kind", type=click.Choice(["discover", "across", "apply", "score"]), help="Only runs of this kind."
)
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="At most so many; default: all.")
@pass_app
def list_jobs(app: App, kind: str | None, limit: int | None) -> None:
    """List the runs, the latest first: how far they are, and how long those that work will take."""
    from loco.ids import SHORT

    runs = _runs(app, kind, limit)
    columns: tuple[Column[Mapping[str, Any]], ...] = (
        Column("id", lambda one: one["id"][:SHORT], whole=True),
        Column("kind", lambda one: one["kind"]),
        Column("status", lambda one: one["status"]),
        Column("items", _items),
        Column("started", lambda one: one["started_at"][_MINUTES].replace("T", " ")),
        Column("schedule", lambda one: one["provenance"].get("schedule")),
    )
    app.table(runs, columns)
    if not runs:
        app.say("nothing was run yet; `loco discover` and `loco apply` do")


def _runs(app: App, kind: str | None, limit: int | None) -> list[dict[str, Any]]:
    """Runs with how they stand; in Prefect only for programs, for asking it takes long."""
    from cli.remote import Remote

    registry = app.registry()
    if isinstance(registry, Remote):
        return registry.jobs(kind, limit)
    from flows.engine.progress import live
    from flows.engine.record import status_of
    from flows.orchestration.prefect_states import states_of
    from registry import shapes

    runs = registry.runs(kind)[:limit]
    states = states_of(app.home, runs) if app.json else {}
    now = ((one, *live(app.home, one)) for one in runs)
    return [shapes.run(run, status_of(one), left, states.get(one.id)) for one, run, left in now]


def _items(run: Mapping[str, Any]) -> str:
    """How many items are finished of how many, how many failed, and how long the rest takes."""
    from cli.watch import duration
    from flows.engine.record import FINISHED

    counts, left = run["counts"], run["left"]
    failed, absent = counts.get("failed", 0), counts.get("absent", 0)
    return ", ".join(
        [
            f"{sum(counts.get(name, 0) for name in FINISHED)}/{counts.get('planned', 0)}",
            *([f"{failed} failed"] if failed else []),
            *([f"{absent} absent"] if absent else []),
            *([f"~{duration(left)}"] if left is not None else []),
        ]
    )
