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
class ApplyJob:
    """Application of directions to many images.

    Attributes:
        directions: Pairs (id or unique prefix, weight); their weighted sum is the displacement.
        strengths: Each is applied to every image: x_t + strength * sum of weight * v.
        out: Folder of the images and of `manifest.jsonl` and `manifest.parquet`.
        images: A folder of images; or
        dataset: the name of a registered dataset.
        steps: DDIM steps each way.
        t: Noise level; None for the directions' own.
        format: `png`, `jpg` or `webp`.
        limit: Only the first so many images, or all.
    """

    directions: tuple[tuple[str, float], ...]
    strengths: tuple[float, ...]
    out: Path
    images: Path | None = None
    dataset: str | None = None
    steps: int = 20
    t: float | None = None
    format: str = "png"
    limit: int | None = None
