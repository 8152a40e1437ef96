"""The options by which directions are chosen: the same filters for every command that takes a selection."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.options import number

_Body = TypeVar("_Body", bound=Callable[..., Any])

Levels = float | tuple[float, float]


def levels(text: str) -> Levels:
    """A type for options: a noise level, or the lowest and the highest, `0.5` or `0.4..0.6`."""
    low, dots, high = text.partition("..")
    try:
        return (number(low), number(high)) if dots else number(low)
    except click.BadParameter as error:
        raise click.BadParameter(f"expected a number or a range such as 0.4..0.6, found {text!r}") from error


def ratios(text: str) -> Levels:
    """The same for what is above 0."""
    found = levels(text)
    if min(found if isinstance(found, tuple) else (found,)) <= 0:
        raise click.BadParameter(f"expected numbers above 0, found {text!r}")
    return found


_OPTIONS = (
    click.option("--model", metavar="NAME", help="Found with this model: its name or id."),
    click.option("--dataset", metavar="NAME", help="Found on images of this dataset."),
    click.option(
        "--roi", metavar="NAME", multiple=True, help="Found in this region; several: in any of them."
    ),
    click.option(
        "--image",
        metavar="NAME",
        multiple=True,
        help="Found on this image: its name, or the beginning of its sha256; several: on any of them.",
    ),
    click.option(
        "--scope",
        type=click.Choice(("image", "dataset")),
        help="Directions of single images, or of whole datasets; default: both.",
    ),
    click.option(
        "--t", type=levels, metavar="T|LOW..HIGH", help="Found at this noise level, or between two."
    ),
    click.option(
        "--snr",
        type=ratios,
        metavar="X|LOW..HIGH",
        help="The same by signal-to-noise ratio, which means the same for every model: alpha_bar / (1 - alpha_bar).",
    ),
    click.option("--abar", "alpha_bar", type=ratios, metavar="X|LOW..HIGH", help="The same by alpha_bar."),
    click.option(
        "--min-gain", type=number, metavar="X", help="Least change inside the region per unit of strength."
    ),
    click.option(
        "--max-leakage",
        type=number,
        metavar="X",
        help="Greatest change outside as a fraction of the change inside.",
    ),
    click.option(
        "--min-retained", type=number, metavar="X", help="Least length left after the projection, 0 to 1."
    ),
    click.option(
        "--min-transfer",
        type=number,
        metavar="X",
        help="Least share of other images that it carries over to, 0 to 1, by `loco score`.",
    ),
    click.option(
        "--converged/--any", default=False, help="Only those whose solve converged, or any (default)."
    ),
    click.option("--label", metavar="TEXT", help="With this label."),
    click.option("--alias", metavar="NAME[@LABEL]", help="With this alias, or any of this name."),
    click.option(
        "--text",
        metavar="TEXT",
        help="With this in its label, alias, region, prompt or image's name, or an id that begins so.",
    ),
    click.option(
        "--since", metavar="TIME", help="Found then or later: UTC, such as 2026-11-20 or 2026-11-20T10:00."
    ),
    click.option(
        "--status",
        type=click.Choice(("kept", "rejected", "all")),
        default="kept",
        show_default=True,
        help="Those that nobody rejected, those that somebody did, or both.",
    ),
    click.option(
        "--where",
        metavar="EXPRESSION",
        help="Any condition, such as \"gain > 4 and not (roi in ('hair', 'mouth') or leakage > 0.1)\".",
    ),
)
"""In the order in which help lists them; each is a name of `registry.index.selection.Filters`."""


def filtering(body: _Body) -> _Body:
    """Give a command the options that choose directions; `asked` makes filters of their values."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def asked(values: dict[str, Any]) -> dict[str, Any]:
    """What the options said, as `Filters`: what was not given is None."""
    return {**values, **{name: values[name] or None for name in ("roi", "image", "converged")}}
