"""The demonstration's page: strips of edited faces with their regions outlined, and the evidence of each direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from numpy.typing import NDArray

from loco.direction import Direction
from loco.evidence import shown_in
from loco.files import write_atomic


@dataclass(frozen=True)
class Panel:
    """One direction on the page.

    Attributes:
        direction: With its evidence.
        strength: The strength it was applied at, and its negative.
        source_image: Name of the image it was found on.
        sources: For each source face its files at -strength, 0 and +strength, relative to the page.
        source_masks: The region [H, W] of each source face.
        others: The files of the faces that it was transferred to.
        locality_sources: Median over faces and both signs of the mean squared change inside over that outside.
        locality_others: The same over the other faces.
        zero_is_input: Whether the output at strength 0 equals the input on every face.
        plus, minus: What it does when it is added, and when it is taken away, in words; None where nobody said.
        transfer: Share of other faces that it carries over to; None where it was not scored.
    """

    direction: Direction
    strength: float
    source_image: str
    sources: tuple[tuple[Path, ...], ...]
    source_masks: tuple[NDArray[np.bool_], ...]
    others: tuple[tuple[Path, ...], ...]
    locality_sources: float
    locality_others: float
    zero_is_input: bool
    plus: str | None = None
    minus: str | None = None
    transfer: float | None = None


@dataclass(frozen=True)
class Section:
    """One region with its directions."""

    roi: str
    panels: tuple[Panel, ...]


def write_page(
    path: Path,
    leading: Sequence[Panel],
    sections: Sequence[Section],
    summary: dict[str, Any],
    try_next: Sequence[str],
) -> None:
    """Write the page whole or not at all, the `leading` directions first; images are referred to, not copied."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["url"] = lambda file: quote(Path(file).as_posix())
    environment.filters["outline"] = outline
    page = environment.get_template("page.html.j2").render(
        leading=leading, sections=sections, summary=summary, try_next=try_next, figures=shown_in("page")
    )
    write_atomic(path, page.encode())


def outline(mask: NDArray[np.bool_]) -> str:
    """An SVG path along the border of a mask [H, W], one unit a pixel."""
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]  # [H + 1, W]: edges between a pixel and the one above
    down = padded[1:-1, 1:] != padded[1:-1, :-1]  # [H, W + 1]: edges between a pixel and the one to its left
    lines = [f"M{x} {y}h1" for y, x in np.argwhere(across)] + [f"M{x} {y}v1" for y, x in np.argwhere(down)]
    return "".join(lines)
