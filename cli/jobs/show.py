"""`loco jobs show`."""

import click

from cli.app import App, cell
from cli.options import Command, pass_app


@click.command("show", cls=Command)
@click.argument("run_id", metavar="ID")
@pass_app
def show(app: App, run_id: str) -> None:
    """Show what the run ID was asked for, how it went, and each item that failed, with the cause.

    The beginning of an id is enough, 6 characters or more.
    """
    from dataclasses import asdict

    from registry import manifests

    run = app.registry().run(run_id)
    manifest = app.home.root / run.manifest
    failures = [
        {name: value for name, value in record.items() if name != "kind"}
        for record in manifests.read(manifest)
        if record["kind"] == "failure"
    ]
    app.show(
        {**asdict(run), "failures": failures},
        {
            "id": run.id,
            "kind": run.kind,
            "status": run.status,
            "items": run.counts,
            "started": run.started_at,
            "finished": run.finished_at,
            **{f"asked: {name}": value for name, value in run.spec.items()},
            "provenance": run.provenance,
            "manifest": manifest,
            "failures": len(failures),
        },
    )
    if not app.json:
        for failure in failures:
            click.echo(f"  {cell(failure)}")
