"""`loco model add`."""

import click

from cli.app import App
from cli.model.facts import facts
from cli.options import Command, pass_app, somewhere


@click.command("add", cls=Command)
@click.argument("name")
@click.argument("source", type=somewhere)
@click.option(
    "--lora",
    "loras",
    multiple=True,
    metavar="FILE[:SCALE]",
    help="Add a LoRA to the weights, so much of it (default: 1); may be repeated.",
)
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    metavar="FILE[:WORD]",
    help="Teach the model a word by textual inversion; may be repeated.",
)
@click.option(
    "--like",
    type=somewhere,
    metavar="SOURCE",
    help="For a single file: a pipeline of its kind, for configurations and vocabulary; default: from the hub.",
)
@click.option(
    "--size",
    metavar="N|HxW",
    help="Take images of this size, in pixels, in place of the network's own, where it bears that.",
)
@pass_app
def add(
    app: App,
    /,
    name: str,
    source: str,
    loras: tuple[str, ...],
    embeddings: tuple[str, ...],
    like: str | None,
    size: str | None,
) -> None:
    """Register the model at SOURCE under NAME.

    SOURCE is the folder of a diffusers pipeline, hub:OWNER/NAME for one on the model hub, zoo:NAME for a model that
    comes with this program, or a single file in the original layout (.safetensors, .ckpt). Pickled weights and single
    files are converted to a folder of safetensors in the home, without executing anything. The family is recognised by
    the model's own files, and its network is run once, on zeros. A NAME that is taken already then means the new
    model; directions found with the old one stay.

    With another --size it is another model, whose directions have that shape: a network of convolutions takes
    smaller images at a fraction of the cost, as well as it has learnt such.

    \b
    loco model add mine /path/to/pipeline
    loco model add styled hub:OWNER/NAME --lora style.safetensors:0.8
    loco model add small /path/to/pipeline --size 128
    loco model add single model.safetensors --like /path/to/pipeline
    """
    from flows.register import model_record, model_source

    where = model_source(
        app.home, source, like=like, loras=loras, embeddings=embeddings, size=size, say=app.say
    )
    record = model_record(name, where)
    from flows.device.probing import probed

    app.say(probed(app.home, record))
    registry = app.registry()
    for old in registry.models():
        if old.name == name and old.id != record.id:
            app.say(f"{name} was another model before: {old.source} (id {old.id})")
    registry.add_model(record)
    app.show(record, facts(record))
