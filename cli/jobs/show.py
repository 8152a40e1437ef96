"""`loco jobs show`."""

from collections.abc import Iterator
from typing import Any

import click

from cli.app import App, printable
from cli.options import Command, pass_app
from loco.errors import InputError


@click.command("show", cls=Command)
@click.argument("run_id", metavar="ID")
@pass_app
def show(app: App, run_id: str) -> None:
    """Show what the run ID was asked for, how it went, and each item that failed or lacks a region, with the cause.

    The beginning of an id is enough, 6 characters or more.
    """
    run = _run(app, run_id)
    state, failures, absent = run.get("prefect"), run["failures"], run["absent"]
    app.show(
        run,
        {
            "id": run["id"],
            "kind": run["kind"],
            "status": run["status"],
            **({"prefect": state} if state else {}),
            "items": run["counts"],
            "started": run["started_at"],
            "finished": run["finished_at"],
            **{f"asked: {name}": value for name, value in run["spec"].items()},
            "provenance": run["provenance"],
            "manifest": app.home.root / run["manifest"] if "left" not in run else run["manifest"],
            "failures": len(failures),
            **({"absent": len(absent)} if absent else {}),
        },
    )
    if not app.json:
        for failure in failures:
            for line in _causes(failure):
                click.echo(f"  {printable(line)}")
        for one in absent:
            for _, reason in one["absent"]:
                click.echo(f"  {printable('absent: ' + one['image'] + ': ' + reason)}")


def _run(app: App, run_id: str) -> dict[str, Any]:
    """The run as plain data, with what failed and what lacks a region; a server tells the first of each."""
    from dataclasses import asdict, replace

    from cli.remote import Remote

    registry = app.registry()
    if isinstance(registry, Remote):
        told = registry.job(run_id)
        if "spec" not in told:
            raise InputError(f"run {run_id[:12]} is starting; ask again in a moment")
        return told
    from flows.engine.progress import live
    from flows.engine.record import status_of
    from flows.orchestration.prefect_states import states_of
    from registry.files import manifests

    run = registry.run(run_id)
    manifest = app.home.root / run.manifest
    state = states_of(app.home, [run]).get(run.id)
    return {
        **asdict(replace(live(app.home, run)[0], status=status_of(run))),
        "failures": [
            {name: value for name, value in record.items() if name != "kind"}
            for record in manifests.failures(manifest)
        ],
        "absent": [
            {"image": record.get("image", "?"), "absent": record["absent"]}
            for record in manifests.absences(manifest)
        ],
        **({"prefect": state} if state else {}),
    }


def _causes(failure: dict[str, Any]) -> Iterator[str]:
    """Lines on one failed item: of an image each region that failed, of an output its cause."""
    image = failure.get("image", "?")
    for roi, cause in failure.get("failures", ()):
        yield f"{image}, {roi}: {cause}" if roi else f"{image}: {cause}"
    if "cause" in failure:
        yield f"{image} -> {failure.get('output', '?')}: {failure['cause']}"
