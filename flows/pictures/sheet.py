"""Sheets to look at and to pass on: any selection of directions, or the before and after of a run, in one file."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from flows.pictures import drawing
from flows.pictures.drawing import Pixels
from flows.pictures.strips import strip
from loco.direction import Direction
from loco.errors import ImageError, InputError, StorageError
from loco.evidence import shown_in
from loco.files import write_atomic
from registry.records import EditItem, RunRecord
from registry.registry import Registry

BESIDE = 8
"""Outputs of one image that are shown."""

_PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Card:
    """One picture on a sheet.

    Attributes:
        title: What it is, in bold.
        note: What else is to be said, beside it.
        data: A PNG, or empty.
        alt: What is to be seen.
        captions: Below each tile, from left to right.
        figures: Each as a value, what it is called, and the same with a few words more.
        names: Labels and aliases.
        trouble: What could not be shown, and why.
    """

    title: str
    note: str
    data: bytes
    alt: str
    captions: tuple[str, ...] = ()
    figures: tuple[tuple[str, str, str], ...] = ()
    names: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def source(self) -> str:
        """The picture as a URL that holds it whole."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


def of_directions(
    registry: Registry, directions: Sequence[Direction], progress: Callable[[int], None] | None = None
) -> Iterator[Card]:
    """A card for each direction; what cannot be shown of one is said there."""
    labels = registry.labels() if directions else {}
    names = registry.image_names({one.image_id for one in directions})
    for one in directions:
        figures = tuple(
            (
                "–" if (value := getattr(one, figure.name)) is None else f"{value:.{figure.digits}f}",
                figure.title,
                figure.brief or figure.title,
            )
            for figure in shown_in("page")
        )
        where = names.get(one.image_id, one.image_id[:12])
        title, note = f"{one.roi} {one.short}", f"found on {where}, number {one.index + 1}, t {one.t:g}"
        told = tuple(labels.get(one.id, ()))
        try:
            made = strip(registry, one)
        except StorageError as error:
            yield Card(title, note, b"", "", (), figures, told, str(error))
        else:
            words = ("change", "direction") if made.strengths else ("region", "direction")
            captions = (*(f"{value:+g}" for value in made.strengths), *words)
            yield Card(title, note, made.data, made.alt, captions, figures, told, made.trouble)
        if progress is not None:
            progress(1)


def of_run(registry: Registry, run: RunRecord, limit: int) -> Iterator[Card]:
    """A card for each of the first images of an apply run: itself, then its outputs; raises `InputError` for another.

    An image or output that is no longer there is said so.
    """
    if run.kind != "apply":
        raise InputError(
            f"run {run.id[:12]} is one of {run.kind}; only those of apply have a before and an after"
        )
    edits = sorted(registry.edits(run.id), key=lambda one: (one.image_name, one.image_id))
    for _, several in islice(groupby(edits, lambda one: (one.image_name, one.image_id)), limit):
        yield _before_after(registry, run, sorted(several, key=_order)[:BESIDE])


def write(path: Path, title: str, intro: str, cards: Iterable[Card]) -> int:
    """Write a sheet whole or not at all, as its ending says: .html (self-contained) or .png; returns its cards.

    Raises `InputError` for another ending.
    """
    check_ending(path)
    found = list(cards)
    if path.suffix.lower() in _PAGES:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        page = environment.get_template("sheet.html.j2").render(title=title, intro=intro, cards=found)
        write_atomic(path, page.encode())
    else:
        write_atomic(path, drawing.page([(_line(one), _pixels(one.data)) for one in found]))
    return len(found)


def check_ending(path: Path) -> None:
    """Refuse, with an `InputError`, a file that no sheet is written to."""
    if path.suffix.lower() not in (*_PAGES, ".png"):
        raise InputError(f"{path}: a sheet is written to a .html or .png, found {path.suffix or 'no ending'}")


def _line(card: Card) -> str:
    """A card's text in a picture."""
    figures = "  ".join(f"{title} {value}" for value, title, _ in card.figures[:3])
    return "  ".join(part for part in (card.title, ", ".join(card.names), card.note, figures) if part)


def _pixels(data: bytes) -> Pixels:
    if not data:
        return np.full((8, 8, 3), 255, np.uint8)
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _order(edit: EditItem) -> tuple[str, float]:
    strengths = [float(strength) for _, strength in edit.recipe.get("directions", ())]
    return (Path(edit.output).parent.name, sum(strengths))


def _before_after(registry: Registry, run: RunRecord, edits: Sequence[EditItem]) -> Card:
    tiles: list[Pixels] = []
    captions: list[str] = []
    troubles: list[str] = []
    parts: list[tuple[str, Callable[[], Pixels]]] = [("input", lambda: before(registry, run, edits[0]))]
    parts += [(_caption(one), lambda one=one: after(one)) for one in edits]  # type: ignore[misc]
    for caption, read in parts:
        try:
            tiles.append(_small(read()))
            captions.append(caption)
        except ImageError as error:
            troubles.append(str(error))
    data = drawing.png(drawing.row_of(_level(tiles))) if tiles else b""
    alt = f"{edits[0].image_name}: {', '.join(captions)}"
    return Card(edits[0].image_name, "", data, alt, tuple(captions), (), (), "; ".join(troubles))


def before(registry: Registry, run: RunRecord, edit: EditItem) -> Pixels:
    """The image that an output was made from; raises `ImageError` where it is no longer there."""
    from flows.inputs.places import local_path
    from loco.folders import inside, open_image
    from loco.images import read_image

    for _, root, name in registry.places(edit.image_id):
        return open_image(Path(root), name, edit.image_id).pixels
    folder = local_path(str(run.spec.get("images") or ""))
    if folder is None or not folder.is_dir():
        raise ImageError(f"{edit.image_name}: it came from {run.spec.get('images')}, which is no folder here")
    picture = read_image(inside(folder, edit.image_name), edit.image_name)
    if picture.id != edit.image_id:
        raise ImageError(f"{folder / edit.image_name} changed since it was edited")
    return picture.pixels


def after(edit: EditItem) -> Pixels:
    """An output's pixels; raises `ImageError` where it is no longer there, changed, or lies at a URL."""
    from flows.inputs.places import local_path
    from loco.ids import bytes_id
    from loco.images import picture_of
    from loco.outside import read

    path = local_path(edit.output)
    if path is None:
        raise ImageError(f"{edit.output} lies elsewhere; look at it there")
    data = read(path)
    if bytes_id(data) != edit.checksum:
        raise ImageError(f"{path} changed since it was written")
    return picture_of(data, path, path.name).pixels


def _caption(edit: EditItem) -> str:
    return ", ".join(f"{float(strength):+g}" for _, strength in edit.recipe.get("directions", ())) or "?"


def _small(pixels: Pixels, side: int = 2 * drawing.SIDE) -> Pixels:
    return drawing.tile(pixels, drawing.SIDE if pixels.shape[0] < drawing.SIDE else side)


def _level(tiles: Sequence[Any]) -> list[Pixels]:
    """Tiles of one height."""
    most = max(one.shape[0] for one in tiles)
    return [np.pad(one, ((0, most - len(one)), (0, 0), (0, 0)), constant_values=255) for one in tiles]
