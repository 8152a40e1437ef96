"""`loco model show`."""

from dataclasses import asdict

import click

from cli.app import App
from cli.model.facts import facts, more_facts
from cli.options import Command, pass_app


@click.command("show", cls=Command)
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """Show all that is known of the model NAME.

    Its family, what its network predicts and works on, its schedule, weights and hash, and how it can be
    differentiated.
    """
    from loco.errors import ModelError
    from loco.models.card import read_card
    from loco.models.source import model_folder

    record = app.registry().model(name)
    try:
        more = more_facts(read_card(model_folder(record.source), hashed=False))
    except ModelError as error:
        app.say(f"its files are not to be read here: {error}")
        more = {}
    app.show(
        asdict(record) | {key.replace(" ", "_"): value for key, value in more.items()}, facts(record) | more
    )
