"""`loco jobs list`."""

from typing import TYPE_CHECKING

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, pass_app

if TYPE_CHECKING:
    from registry.records import RunRecord

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
    from flows.engine.progress import live
    from flows.engine.record import status_of
    from flows.orchestration.prefect_states import states_of
    from loco.ids import SHORT
    from registry import shapes

    runs = app.registry().runs(kind)[:limit]
    now = {one.id: live(app.home, one) for one in runs}
    status = {one.id: status_of(one) for one in runs}
    if app.json:
        states = states_of(app.home, runs)
        told = ((*now[one.id], status[one.id], states.get(one.id)) for one in runs)
        app.table([shapes.run(run, how, left, state) for run, left, how, state in told], ())
    else:
        columns: tuple[Column[RunRecord], ...] = (
            Column("id", lambda one: one.id[:SHORT], whole=True),
            Column("kind", lambda one: one.kind),
            Column("status", lambda one: status[one.id]),
            Column("items", lambda one: _items(*now[one.id], status[one.id])),
            Column("started", lambda one: one.started_at[_MINUTES].replace("T", " ")),
            Column("schedule", lambda one: one.provenance.get("schedule")),
        )
        app.table(runs, columns)
    if not runs:
        app.say("nothing was run yet; `loco discover` and `loco apply` do")


def _items(run: "RunRecord", left: float | None, status: str) -> str:
    """How many items are finished of how many, how many failed, and how long the rest takes."""
    from cli.watch import duration
    from flows.engine.progress import finished

    failed, absent = run.counts.get("failed", 0), run.counts.get("absent", 0)
    return ", ".join(
        [
            f"{finished(run)}/{run.counts.get('planned', 0)}",
            *([f"{failed} failed"] if failed else []),
            *([f"{absent} absent"] if absent else []),
            *([f"~{duration(left)}"] if left is not None and status == "running" else []),
        ]
    )
