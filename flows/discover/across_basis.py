"""The basis file of a discovery across a dataset: which it is, its regions, and writing it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flows.discover.image import is_sound
from flows.discover.rounds import Rounds, Seen
from flows.jobs import AcrossJob
from loco.direction import Basis, basis_id, images_id, region_id
from loco.recipes import DiscoverRecipe
from registry.files.basis import basis_path, read_basis, write_basis
from registry.home import Home
from registry.records import ModelRecord

if TYPE_CHECKING:
    from loco.across import Answers, Region, Shaped


@dataclass(frozen=True)
class Whole:
    """What the directions are of: a model and a dataset as a whole, and what is asked about them.

    Attributes:
        home: Where the file lies.
        model: The model.
        dataset: The dataset's name.
        asked: The job.
    """

    home: Home
    model: ModelRecord
    dataset: str
    asked: AcrossJob

    @property
    def recipe(self) -> DiscoverRecipe:
        """How directions are found."""
        return self.asked.recipe

    @property
    def names(self) -> tuple[str, ...]:
        """The regions' names, in order."""
        return tuple(one.partition("=")[0] for one in self.asked.rois)

    def basis_id(self, looked: Sequence[str], seen: Sequence[Seen]) -> str:
        """The id of the file, by the images that were looked at and those that have a region."""
        ids = [
            region_id(name, [(one.id, one.rois[number]) for one in seen if one.rois[number]])
            for number, name in enumerate(self.names)
        ]
        return basis_id(self.model.id, images_id(looked), self.recipe, tuple(ids))

    def is_made(self, looked: Sequence[str], seen: Sequence[Seen]) -> bool:
        """Whether the file is there and sound; raises `NewerFormat`."""
        return is_sound(self.home, self.basis_id(looked, seen))

    def found_under(self, looked: Sequence[str], seen: Sequence[Seen]) -> str:
        """The name of the dataset that the file was found on: other sets of the same images have the same file."""
        return read_basis(basis_path(self.home, self.basis_id(looked, seen))).image_name

    def regions(self, rounds: Rounds) -> "list[Region]":
        """The regions over all images: a pixel is in one where it is for at least half of the images that have it."""
        from loco.across import Region

        found = []
        for number, (name, source) in enumerate(zip(self.names, rounds.sources, strict=True)):
            areas = [one.areas[number] for one in rounds.seen if one.rois[number]]
            mask = np.zeros(self.model.shape[1:], bool) if rounds.masks is None else rounds.masks[number]
            again = source.startswith(("box:", "segment:", "sam:"))
            found.append(
                Region(
                    name,
                    source if again else f"dataset:{self.dataset}",
                    float(np.mean(areas)) if areas else 0.0,
                    2 * mask >= max(1, len(areas)),
                    tuple((one.id, one.rois[number]) for one in rounds.seen if one.rois[number]),
                )
            )
        return found

    def written(
        self,
        shaped: "Shaped",
        answers: "Answers",
        rounds: Rounds,
        shape: tuple[int, int, int],
        device: str | None,
    ) -> Basis:
        """Write the file, with vectors of that shape [C, H, W]; the basis in it."""
        import torch

        from loco.across import dataset_basis

        basis = dataset_basis(
            shaped,
            self.regions(rounds),
            answers,
            model=self.model.id,
            image_id=images_id(rounds.looked),
            shape=shape,
            name=self.dataset,
            recipe=self.recipe,
        )
        provenance: dict[str, str | float] = {} if device is None else {"device": device}
        basis = replace(basis, provenance=provenance | {"torch": torch.__version__})
        write_basis(self.home, basis, rounds.spent[2])
        return basis
