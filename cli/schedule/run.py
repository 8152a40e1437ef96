"""`loco schedule run`."""

import click

from cli.app import App
from cli.options import Command, pass_app


@click.command("run", cls=Command)
@click.argument("name")
@pass_app
def run(app: App, name: str) -> None:
    """Let a worker run the schedule NAME now, and print the run's id; `loco jobs show ID` follows it."""
    from flows.schedules.schedule import run_now

    run_id = run_now(app.home, name)
    app.show({"run": run_id, "schedule": name}, {"run": run_id})
    app.say("a worker takes it up; start one with `loco worker` if none runs")
