"""What a flow is asked to do, as plain data, and how it tells of its progress; needs neither torch nor prefect."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loco.recipes import DiscoverRecipe


class Watch(Protocol):
    """Somebody who follows a run."""

    def total(self, items: int) -> None:
        """The number of items that the run will work on."""

    def advance(self, items: int = 1) -> None:
        """So many more items are finished, failed ones included."""

    def say(self, text: str) -> None:
        """A line for people: what starts, what was skipped, what failed."""


class Silence:
    """A `Watch` that tells nobody."""

    def total(self, items: int) -> None:
        """Ignore it."""

    def advance(self, items: int = 1) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class DiscoverJob:
    """Discovery over a dataset.

    Attributes:
        model: Name of a registered model.
        dataset: Name of a registered dataset.
        rois: Regions, as on the command line: `mouth` or `mouth=box:x0,y0,x1,y1`.
        recipe: How directions are found.
        limit: Only the first so many images, or all.
    """

    model: str
    dataset: str
    rois: tuple[str, ...]
    recipe: DiscoverRecipe
    limit: int | None = None


@dataclass(frozen=True)
class Mix:
    """A weighted sum of directions and the strengths to apply it at.

    Attributes:
        directions: Pairs (id or unique prefix, weight).
        strengths: Each is applied to every image: x_t + strength * sum of weight * v.
        label: How it is called in file names; made of regions and ids where it is empty.
    """

    directions: tuple[tuple[str, float], ...]
    strengths: tuple[float, ...]
    label: str = ""


@dataclass(frozen=True)
class ApplyJob:
    """Application of directions to many images.

    Attributes:
        directions: Pairs (id or unique prefix, weight); their weighted sum is the displacement.
        strengths: Each is applied to every image: x_t + strength * sum of weight * v.
        out: Folder or URL of the images and of `manifest.jsonl` and `manifest.parquet`.
        images: A folder, pattern, list, Parquet file or tar shard of images, as a path or URL; or
        dataset: the name of a registered dataset.
        steps: Solver steps each way.
        t: Noise level; None for the directions' own.
        format: `png`, `jpg` or `webp`.
        limit: Only the first so many images, or all.
        also: Further sums, each with its own strengths, applied to the same images.
        each: Whether every direction is applied by itself, at every strength, in place of the sum.
        unit: Of the strengths: `lambda`, or `sd` for equal predicted change, see `EditRecipe`.
        solver: `ddim`, or `dpm2` for second order.
        against: Ids or prefixes of directions that every direction is first made orthogonal to.
        confine: The target's own region that changes are confined to, as on the command line.
        masks: Folder of masks for it; None for `masks` in the folder of images, or the dataset's.
        min_effect: Response, as a fraction of the predicted, below which an image is passed through.
        preview: First-order effect only: two evaluations an image.
        cache: Bytes of HOME/cache that inverted images may take; None for the default, 0 for none.
        prompt, negative, guidance: What a model that takes words is told, see `EditRecipe`.
    """

    directions: tuple[tuple[str, float], ...]
    strengths: tuple[float, ...]
    out: Path | str
    images: Path | str | None = None
    dataset: str | None = None
    steps: int = 20
    t: float | None = None
    format: str = "png"
    limit: int | None = None
    also: tuple[Mix, ...] = ()
    each: bool = False
    unit: str = "lambda"
    solver: str = "ddim"
    against: tuple[str, ...] = ()
    confine: str | None = None
    masks: Path | None = None
    min_effect: float = 0.05
    preview: bool = False
    cache: int | None = None
    prompt: str = ""
    negative: str = ""
    guidance: float | None = None

    @property
    def mixes(self) -> tuple[Mix, ...]:
        """All sums that are applied."""
        if self.each:
            alone = tuple(Mix((one,), self.strengths) for one in self.directions)
            return (*alone, *self.also)
        return (Mix(self.directions, self.strengths), *self.also)
