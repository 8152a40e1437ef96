"""What discovery yields: `Direction` (evidence, no array) and `Basis` (one image's directions with arrays)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loco.ids import SHORT, content_id
from loco.levels import log_snr
from loco.recipes import ALGORITHM, DiscoverRecipe, EditRecipe

SCOPES = ("image", "dataset")
"""Of what a direction can be."""

WIDE = 0.9
"""A region of more than this fraction of the pixels leaves next to no outside: it is warned of, and what compares it
with the outside (`COMPARED`) is not known."""

COMPARED = ("leakage", "retained")
"""Figures that compare a region with its outside. Projected off the few pixels that are left, nothing leaks into them,
and of a region of all pixels everything is retained: such numbers would head every list and mean nothing."""


@dataclass(frozen=True)
class Direction:
    """One edit direction and the evidence for it; the vector itself stays in its basis file.

    Attributes:
        id: Hash of model, image, ROI, recipe and index.
        basis_id: The basis file that holds the vector.
        row: Row of the vector in that file.
        index: 0 for the ROI's strongest singular direction, and so on.
        model: Weights hash of the model.
        image_id: sha256 of the image file's bytes.
        roi: Name of the region.
        roi_id: Hash of the region's name and mask at model size.
        roi_area: Fraction of the pixels inside the mask, in (0, 1].
        t: Noise level in (0, 1).
        step: The training step nearest to t that the network was given.
        shape: (C, H, W) of the vector.
        singular_value: sigma of the ROI's Jacobian, before the projection.
        residual: ||J'M u - s v|| / s at the end of the solve.
        converged: Whether residual <= the recipe's tol, for it and for all that was projected away.
        gain: ||J_roi v||, the first-order change in the region per unit of strength.
        leakage: RMS change per pixel outside over RMS change per pixel inside, first order; None where there is next to
            no outside (`roi_area` over `WIDE`), whatever was given.
        retained: Length of the singular vector left after the null-space projection, in (0, 1]; None likewise.
        space: Where the vector lives and is added, `x_t` for the noised image itself.
        method: How it was found: `projected` off the rest, or `constrained`.
        linear_range: Largest strength up to which the change stays linear: norm ratio within 0.9 to 1.1 and
            cosine of at least 0.95 to the first-order change; None where it was not measured.
        products: Jacobian-vector products spent on it, its share of what was spent together.
        evaluations: Network evaluations spent on it, likewise.
        seconds: Time spent on it, likewise.
        prompt: The prompt of a text-guided model, else empty.
        edit_prompt: The prompt that told the edit, where one did, else empty.
        scope: Of what it is a direction: `image`, or `dataset`. In the latter case `image_id` is the content id of the
            images used with their regions, `roi_id` that of the region's name and their regions, and gain and leakage
            are medians over the images.
        images: Images that it was found on: 1, or those of the dataset that have the region.
        coverage: Of a dataset's direction: share of those images that respond, in [0, 1]; else None.
        stability: Of a dataset's direction: cosine of the angle between it and the nearest direction that either
            half of the images gives, the lesser of the two, in [0, 1]; None where there were no halves.
        alpha_bar: The share of the signal in the power of x_t at that step, in [0, 1]: what the level is under any
            schedule, which t is not (`loco.levels`); None where the model's schedule is not known.
        log_snr: ln(alpha_bar / (1 - alpha_bar)); None likewise, and at the ends.
        point: Where the Jacobian was taken (`loco.points`).
    """

    id: str
    basis_id: str
    row: int
    index: int
    model: str
    image_id: str
    roi: str
    roi_id: str
    roi_area: float
    t: float
    step: int
    shape: tuple[int, int, int]
    singular_value: float
    residual: float
    converged: bool
    gain: float
    leakage: float | None
    retained: float | None
    space: str = "x_t"
    method: str = "projected"
    linear_range: float | None = None
    products: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    prompt: str = ""
    edit_prompt: str = ""
    scope: str = "image"
    images: int = 1
    coverage: float | None = None
    stability: float | None = None
    alpha_bar: float | None = None
    log_snr: float | None = None
    point: str = "inverted"

    def __post_init__(self) -> None:
        """Leave out what means nothing without an outside: files and programs of before gave numbers for it.

        `log_snr` is what follows from `alpha_bar`, whatever was given. Raises `ValueError` for an impossible one.
        """
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ValueError(f"alpha_bar must lie in [0, 1], found {self.alpha_bar!r}")
        object.__setattr__(self, "log_snr", log_snr(self.alpha_bar))
        if self.roi_area > WIDE:
            for name in COMPARED:
                object.__setattr__(self, name, None)

    @property
    def short(self) -> str:
        """The id as people are shown it."""
        return self.id[:SHORT]


@dataclass(frozen=True)
class RoiMask:
    """A region as a basis stores it: its name, id, source and mask [H, W] at model size."""

    id: str
    name: str
    source: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Refusal:
    """A direction that was looked for and not kept, with the reason."""

    roi: str
    index: int
    cause: str


@dataclass(frozen=True)
class Basis:
    """All directions of one image at one t under one recipe: what `discover` returns, what a basis file holds.

    Attributes:
        id: Hash of model, image, recipe and ROI ids.
        model: Weights hash of the model.
        image_id: sha256 of the image file's bytes.
        image_name: The image's name in its dataset, for people.
        recipe: The recipe it was found with.
        rois: The regions, with masks at model size.
        directions: Their evidence; `row` points into `vectors`.
        vectors: [n, C, H, W] float32, unit length each.
        refused: Directions that did not survive the projection.
        products: Jacobian-vector products spent, forward and transposed together.
        evaluations: Network evaluations spent, in single images, inversion included.
        provenance: Device and versions: beside the identity, never in it.
        arrays: Further arrays by name, for those who ask for them. Of an image's basis, for region number i: `right.i`
            [k, C, H, W] and `values.i` [k], the region's singular vectors before the projection and their values, and
            `rest.i`, `rest_values.i`, those of its rest. Of a dataset's: `images` [N, 32] uint8, the sha256 of those
            used; `weights` [N, regions]; `gains`, `leakages` [N, n], NaN where an image does not have the region;
            `spectrum.i` [2, m], the roots of the mean operators' Rayleigh quotients, inside and rest.
    """

    id: str
    model: str
    image_id: str
    image_name: str
    recipe: DiscoverRecipe
    rois: tuple[RoiMask, ...]
    directions: tuple[Direction, ...]
    vectors: NDArray[np.float32]
    refused: tuple[Refusal, ...] = ()
    products: int = 0
    evaluations: int = 0
    provenance: dict[str, str | float] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def basis_id(model: str, image_id: str, recipe: DiscoverRecipe, roi_ids: tuple[str, ...]) -> str:
    """Id of the basis that `recipe` yields for this model, image and these regions (in any order)."""
    return content_id("basis", [ALGORITHM, model, image_id, recipe, sorted(roi_ids)])


def direction_id(model: str, image_id: str, recipe: DiscoverRecipe, roi_id: str, index: int) -> str:
    """Id of direction `index` of one region; the same whichever other regions were solved beside it."""
    return content_id("direction", [ALGORITHM, model, image_id, recipe, roi_id, index])


def images_id(image_ids: Iterable[str]) -> str:
    """Id of a set of images, in whatever order: what stands for the image of a dataset's directions."""
    return content_id("images", sorted(set(image_ids)))


def region_id(name: str, members: Iterable[tuple[str, str]]) -> str:
    """Id of a region over several images: of its name and of pairs (image id, id of the image's region)."""
    return content_id("roi across", [name, sorted(set(members))])


def edit_id(model: str, image_id: str, recipe: EditRecipe, region: str | None = None) -> str:
    """Id of what `recipe` makes of an image; `region` is the id of the ROI that it is confined to, if any."""
    made_of = [ALGORITHM, model, image_id, recipe]
    return content_id("edit", made_of if region is None else [*made_of, region])
