"""The options that name a scorer and say how it is asked, of `loco audit` and `loco directions name`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, ranged

_Body = TypeVar("_Body", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--scorer",
        required=True,
        metavar="SCORER",
        help="What reads numbers from images: zoo:reader for rendered faces, a reader's .safetensors file, or a "
        "classifier or CLIP of transformers: its folder, or hub:OWNER/NAME.",
    ),
    click.option(
        "--prompts",
        multiple=True,
        metavar="NAME=YES|NO",
        help="For CLIP: a number and the two texts that it compares an image with; repeatable.",
    ),
    click.option(
        "--images",
        type=AT_LEAST_ONE,
        default=24,
        show_default=True,
        metavar="N",
        help="Images that are asked, spread over the dataset; those without the region don't count.",
    ),
    click.option(
        "--steps",
        type=ranged("steps"),
        default=10,
        show_default=True,
        metavar="N",
        help="DDIM steps each way.",
    ),
)


def scoring(body: _Body) -> _Body:
    """Give a command the options of a scorer."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def opened(app: App, scorer: str, prompts: tuple[str, ...]) -> Any:
    """The scorer, where networks run here; raises `ModelError` or `InputError`."""
    from flows.device.models import device
    from loco.scorers.opening import open_scorer

    with app.watch("scorer") as watch:
        watch.say(f"opening {scorer}")
        return open_scorer(scorer, prompts, device=device())
