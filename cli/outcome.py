"""How a run of a flow ends on the command line."""

from typing import TYPE_CHECKING

import click

from cli.app import PARTIAL, App

if TYPE_CHECKING:
    from registry.records import RunRecord

_EXIT_CODES = {"done": 0, "partial": PARTIAL}


def finish(app: App, run: "RunRecord", **more: object) -> None:
    """Show how a run ended and exit accordingly: 0 done, 3 done with failed items, 1 failed."""
    app.show(
        run,
        {
            "run": run.id,
            "status": run.status,
            "items": run.counts,
            **({"why": run.provenance["stopped"]} if run.provenance.get("stopped") else {}),
            **more,
            "manifest": app.home.root / run.manifest,
        },
    )
    code = _EXIT_CODES.get(run.status, 1)
    if code:
        app.say(f"not everything was done; `loco jobs show {run.id}` tells what failed and why")
        click.get_current_context().exit(code)
