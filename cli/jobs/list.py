"""`loco jobs list`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cli.app import App, Column
from cli.options import AT_LEAST_ONE, Command, pass_app

if TYPE_CHECKING:
    from registry.records import RunRecord

_SECONDS = len("2026-11-21T10:00:00")
"""Of a time, what people are shown."""


@click.command("list", cls=Command)
@click.option("--kind", type=click.Choice(["discover", "apply", "score"]), help="Only runs of this kind.")
@click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="At most so many; default: all.")
@pass_app
def list_jobs(app: App, kind: str | None, limit: int | None) -> None:
    """List the runs, the latest first."""
    from dataclasses import asdict

    from flows.engine.record import status_of
    from flows.orchestration.prefect_states import states_of
    from loco.ids import SHORT

    runs = app.registry().runs(kind)[:limit]
    states = states_of(app.home, runs)
    if app.json:
        app.table(
            [{**asdict(one), "status": status_of(one), "prefect": states.get(one.id)} for one in runs], ()
        )
    else:
        _show(app, runs, states, SHORT, status_of)
    if not runs:
        app.say("nothing was run yet; `loco discover` and `loco apply` do")


def _show(
    app: App,
    runs: "list[RunRecord]",
    states: dict[str, str],
    short: int,
    status_of: "Callable[[RunRecord], str]",
) -> None:
    columns = [
        Column("id", lambda one: one.id[:short], whole=True),
        Column("kind", lambda one: one.kind),
        Column("status", status_of),
        Column("items", lambda one: _items(one.counts)),
        Column("started", lambda one: one.started_at[:_SECONDS]),
        Column("finished", lambda one: one.finished_at and one.finished_at[:_SECONDS]),
    ]
    if states:
        columns.append(Column("prefect", lambda one: states.get(one.id)))
    app.table(runs, columns)


def _items(counts: dict[str, int]) -> dict[str, int]:
    """What there is of, in the order in which it comes about."""
    from flows.engine.record import COUNTS

    return {name: counts[name] for name in (*COUNTS, *counts) if counts.get(name)}
