"""How much an application is, before it runs: evaluations by its recipes, bytes by its images or earlier outputs."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

from PIL import Image

from flows.apply.edits import Edit
from flows.inputs.places import Source
from loco.formats import FORMATS, Format
from loco.recipes import EditRecipe

SAMPLED = 20
"""Files that a mean size is of."""

_BESIDE = 2500
"""Bytes of what an output says of itself."""


_HEADERS = ("PNG", "JPEG", "WEBP")
"""Formats that are asked for their size."""


def evaluations_of(edits: Sequence[Edit]) -> int:
    """Network evaluations of one image: its inversion once a level, and each edit's way down."""
    working = [edit for edit in edits if edit.strength != 0]
    paths: dict[tuple[float, int, bool], EditRecipe] = {}
    responses, total = set[tuple[object, ...]](), 0
    for edit in working:
        recipe = edit.recipe
        paths.setdefault((recipe.t, recipe.steps, recipe.preview), recipe)
        if recipe.preview or recipe.unit == "sd":
            responses.add((tuple(name for name, _ in recipe.directions), edit.weights, recipe.t))
        total += 0 if recipe.preview else recipe.steps
    return total + len(responses) + sum(1 if preview else steps + 1 for _, steps, preview in paths)


def bytes_of(sources: Iterable[Source], made: Iterable[Path], format: Format, edits: int) -> int | None:
    """Bytes of so many outputs, about: by those that are there already, else by the images' sizes; None for neither."""
    sizes = [path.stat().st_size for path in islice(made, SAMPLED)]
    if not sizes:
        for source in islice((one for one in sources if one.kind == "file"), SAMPLED):
            try:
                if Path(source.place).is_file():
                    with Image.open(source.place, formats=_HEADERS) as image:  # its header alone
                        sizes.append(round(image.width * image.height * FORMATS[format].per_pixel) + _BESIDE)
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
    return round(fmean(sizes) * edits) if sizes else None
