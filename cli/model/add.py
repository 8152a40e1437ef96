"""`loco model add`."""

import click

from cli.app import App
from cli.model.facts import facts
from cli.options import Command, pass_app, somewhere


@click.command("add", cls=Command)
@click.argument("name")
@click.argument("source", type=somewhere)
@pass_app
def add(app: App, name: str, source: str) -> None:
    """Register the model at SOURCE under NAME.

    SOURCE is the folder of a diffusers pipeline with safetensors weights, hub:OWNER/NAME for one on the model
    hub, or zoo:NAME for a model that comes with this program. Its family is recognised by its own files, and its
    network is run once, on zeros. A NAME that is taken already then means the new model; directions found with the
    old one stay.
    """
    from flows.device.probing import probed
    from flows.register import model_record

    record = model_record(name, source)
    app.say(probed(record))
    registry = app.registry()
    for old in registry.models():
        if old.name == name and old.id != record.id:
            app.say(f"{name} was another model before: {old.source} (id {old.id})")
    registry.add_model(record)
    app.show(record, facts(record))
