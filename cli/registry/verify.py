"""`loco registry verify`."""

import click

from cli.app import App, Column
from cli.options import Command, pass_app


@click.command("verify", cls=Command)
@pass_app
def verify(app: App) -> None:
    """Check that the catalogue says what the files say, and that all files are sound.

    Reads every file of the home but inverted images, and every output image, once. Prints each problem with what to
    do about it, and what cannot be checked; the exit code is 1 if there is a problem.
    """
    registry = app.registry()
    problems = registry.verify()
    app.table(
        problems,
        (
            Column("where", lambda one: one.subject),
            Column("what is wrong", lambda one: one.trouble),
            Column("what to do", lambda one: one.remedy),
        ),
    )
    for one in registry.unchecked():
        app.say(f"not checked: {one}")
    if problems:
        app.say(f"problems: {len(problems)}")
        click.get_current_context().exit(1)
    app.say("catalogue and files agree")
