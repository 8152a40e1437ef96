"""Pictures on a terminal: by kitty's graphics protocol where the terminal has it, else as half blocks in colour."""

import base64
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.segment import Segments

_CHUNK = 4096
"""Characters of an escape sequence that kitty's protocol takes at most."""


def draw(data: bytes) -> bool:
    """Show a PNG on standard output; returns whether the terminal can. Nothing is written where it cannot."""
    if not sys.stdout.isatty():
        return False
    if speaks_kitty(os.environ):
        click.echo("".join(kitty(data)))
        return True
    from rich.console import Console

    console = Console()
    if not console.is_terminal or console.color_system in (None, "standard") or console.legacy_windows:
        return False
    console.print(half_blocks(data, console.width), soft_wrap=True)
    return True


def speaks_kitty(environment: Mapping[str, str]) -> bool:
    """Whether a terminal says that it knows kitty's protocol; inside tmux and screen it does not get through."""
    if environment.get("TMUX") or environment.get("TERM", "").startswith(("screen", "tmux")):
        return False
    return (
        "KITTY_WINDOW_ID" in environment
        or environment.get("TERM") in ("xterm-kitty", "xterm-ghostty")
        or environment.get("TERM_PROGRAM") in ("WezTerm", "ghostty")
    )


def kitty(data: bytes) -> Iterator[str]:
    """The escape sequences that show a PNG where the cursor is."""
    text = base64.b64encode(data).decode()
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    for number, part in enumerate(parts):
        head = "a=T,f=100," if number == 0 else ""
        yield f"\033_G{head}m={int(number < len(parts) - 1)};{part}\033\\"


def half_blocks(data: bytes, columns: int) -> "Segments":
    """A PNG as text of at most so many columns: of each character the upper half is one pixel, the lower another."""
    import numpy as np
    from PIL import Image
    from rich.segment import Segment, Segments
    from rich.style import Style

    with Image.open(io.BytesIO(data)) as image:
        width = max(1, min(columns, image.width))
        height = max(2, round(image.height * width / image.width / 2) * 2)
        small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    colours = [["#{:02x}{:02x}{:02x}".format(*pixel) for pixel in row] for row in np.asarray(small).tolist()]
    segments = []
    for y in range(0, height, 2):
        for x in range(width):
            segments.append(Segment("▀", Style(color=colours[y][x], bgcolor=colours[y + 1][x])))
        segments.append(Segment.line())
    return Segments(segments)
