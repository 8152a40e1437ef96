"""What is made of every image, what a chunk of a run holds, and what became of it: plain data, and names of outputs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.engine.job import Chunk
from flows.inputs.places import Source, place_of
from flows.outputs.forms import Form
from loco.formats import Format
from loco.ids import content_id
from loco.marks.claim import PLAIN, Marks
from loco.recipes import EditRecipe
from registry.files.cache import LIMIT
from registry.records import EditItem

ABSENT = "absent"
"""In place of a region's id in the id of an edit whose regions the image lacks: it is passed through."""


@dataclass(frozen=True)
class Edit:
    """One output of every image: a sum of directions at one strength.

    Attributes:
        recipe: Its recipe, with the strength in it.
        weights: The directions' weights at strength 1.
        strength: The strength that is applied.
        asked: The strength that was asked for; differs where that lies beyond the linear range.
        label: The directions as they stand in names.
        found_at: Noise levels that the directions were found at.
        regions: Names of the directions' regions: an image whose masks say that it has none of them is passed through.
            Empty where no mask says it.
    """

    recipe: EditRecipe
    weights: tuple[float, ...]
    strength: float
    asked: float
    label: str
    found_at: tuple[float, ...]
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ApplyChunk(Chunk):
    """Some images, and what is to be made of them.

    Attributes:
        run_id: The run.
        sources: The images.
        stems: The beginning of each image's output names.
        edits: What is made of each, with directions of the chunk's model.
        out: Folder or URL of the outputs.
        form: How they are written.
        root: Folder of the images, or None where they come from elsewhere.
        masks: Folder of masks, or None.
        cache: Bytes that the cache of inverted images may take.
        present: Output file -> (edit id, checksum, run) of what is there already.
        manifest: The manifest's name, without its endings.
        marks: What the outputs say of themselves.
    """

    run_id: str
    sources: tuple[Source, ...]
    stems: tuple[str, ...]
    edits: tuple[Edit, ...]
    out: Path | str
    form: Form
    root: Path | None = None
    masks: Path | None = None
    cache: int = LIMIT
    present: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    manifest: str = "manifest"
    marks: Marks = PLAIN

    @property
    def names(self) -> tuple[str, ...]:
        """What its images are called."""
        return tuple(one.name for one in self.sources)

    @property
    def format(self) -> Format:
        """The format of each output."""
        return self.form.image


@dataclass(frozen=True)
class EditOutcome:
    """What became of one output file: `done`, `skipped` (it was there), `absent` (its image lacks the region that the
    change is confined to) or `failed`, with the cause.
    """

    image: str
    output: str
    strength: float
    status: str
    edit: EditItem | None = None
    cause: str = ""
    no_effect: bool = False
    note: str = ""
    """What is to be said of the region that the change was confined to."""


@dataclass(frozen=True)
class Work:
    """What became of a chunk: outcomes, evaluations spent, seconds of each stage, and how often memory ran out.

    `all` is everything from the network's opening on.
    `decode` and `encode` are summed over threads and overlap with the others; `invert`, `edit` and `wait` (for readers)
    follow each other in the network's thread.
    """

    outcomes: list[EditOutcome]
    evaluations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    halved: int = 0


def output_of(stem: str, edit: Edit, form: Form) -> str:
    """Where an edited image goes, relative to the output folder: `a__mouth-1a2b3c4d__+4.png`.

    Where another strength was asked for than is applied, both are told: `+3.404of4`.
    """
    applied, sd = f"{edit.strength:+g}", "sd" if edit.recipe.unit == "sd" else ""
    asked = f"of{edit.asked:g}" if f"{edit.asked:+g}" != applied else ""
    return f"{stem}{form.escaped(f'__{edit.label}__{applied}{asked}{sd}')}.{form.image}"


def line_of(
    item: EditItem,
    edit: Edit,
    status: str,
    seconds: float,
    cause: str = "",
    notes: tuple[str, ...] = (),
    former: str = "",
    marks: tuple[str, ...] = (),
    source: str = "",
) -> dict[str, Any]:
    """One line of the output folder's manifest.

    `former` is the checksum of an output that a failure left as it was, `marks` what the file says of itself, `source`
    where the image was read.
    """
    return (
        asdict(item)
        | {
            "recipe_id": content_id("recipe", edit.recipe),
            "source": source,
            "strength": edit.asked,
            "applied": edit.strength,
            "found_at": list(edit.found_at),
            "status": status,
            "cause": cause,
            "seconds": round(seconds, 4),
            "notes": list(notes),
            "marks": list(marks),
        }
        | ({"former": former} if former else {})
    )


def failure_line(chunk: ApplyChunk, source: Source, edit: Edit, outcome: EditOutcome) -> dict[str, Any]:
    """The line of an output that failed, or whose image lacks the region."""
    item = EditItem("", chunk.run_id, "", outcome.image, asdict(edit.recipe), outcome.output, "")
    former = chunk.present.get(outcome.output, ("", "", ""))[1]
    return line_of(item, edit, outcome.status, 0.0, outcome.cause, former=former, source=place_of(source))


def chunk_with(
    chunk: ApplyChunk, present: Callable[[list[str]], dict[str, tuple[str, str, str]]]
) -> ApplyChunk:
    """The chunk with what is there of its outputs."""
    outputs = [output_of(stem, edit, chunk.form) for stem in chunk.stems for edit in chunk.edits]
    return replace(chunk, present=present(outputs))
