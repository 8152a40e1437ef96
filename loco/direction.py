"""What discovery yields: `Direction` (evidence, no array) and `Basis` (one image's directions with arrays)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loco.figure import EVERYWHERE, figure
from loco.ids import SHORT, content_id
from loco.levels import log_snr
from loco.recipes import ALGORITHM, DiscoverRecipe, EditRecipe

if TYPE_CHECKING:  # lists of figures are shown without arrays
    import numpy as np
    from numpy.typing import NDArray

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
        space: Where the vector lives and is added, `x_t` for the noised image itself.
        method: How it was found: `projected` off the rest, or `constrained`.
        products: Jacobian-vector products spent on it, its share of what was spent together.
        evaluations: Network evaluations spent on it, likewise.
        seconds: Time spent on it, likewise.
        prompt: The prompt of a text-guided model, else empty.
        edit_prompt: The prompt that told the edit, where one did, else empty.
        scope: Of what it is a direction: `image`, or `dataset`. In the latter case `image_id` is the content id of the
            images used with their regions, `roi_id` that of the region's name and their regions, and gain and leakage
            are medians over the images.
        images: Images that it was found on: 1, or those of the dataset that have the region.
        alpha_bar: The share of the signal in the power of x_t at that step, in [0, 1]: what the level is under any
            schedule, which t is not (`loco.levels`); None where the model's schedule is not known.
        log_snr: ln(alpha_bar / (1 - alpha_bar)); None likewise, and at the ends.
        point: Where the Jacobian was taken (`loco.points`).

    The fields with a `figure` are the evidence (`loco.evidence.FIGURES`): rows, lists, groups, pages and docs have
    them because they stand here. What compares a region with its outside is None where there is next to none
    (`roi_area` over `WIDE`), whatever was given; `linear_range` where it was not measured.
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
    gain: float = field(
        metadata=figure(
            unit="pixel values in [-1, 1] per unit of strength",
            title="gain",
            definition="norm(M J v) after projection",
            meaning="change inside the region, per unit of strength",
            better="more",
            places=EVERYWHERE,
            brief="gain ‖J v‖ inside",
        )
    )
    leakage: float | None = field(
        metadata=figure(
            title="leakage",
            definition="RMS of J v per pixel outside over RMS per pixel inside",
            meaning="change outside as a fraction of the change inside",
            better="less",
            places=EVERYWHERE,
            brief="leakage, RMS out / in",
        )
    )
    retained: float | None = field(
        metadata=figure(
            title="retained",
            definition="norm(v_p), in (0, 1]",
            meaning="length of the direction left after the projection off the outside",
            better="more",
            places=frozenset({"list", "page"}),
        )
    )
    singular_value: float = field(
        metadata=figure(
            unit="as gain",
            title="singular value",
            definition="s, of M J",
            meaning="how strongly the region responds to its own best direction",
            better="more",
            places=frozenset({"page"}),
        )
    )
    residual: float = field(
        metadata=figure(
            title="residual",
            definition="norm(J' M u - s v) / s",
            meaning="how exact that triplet is",
            better="less",
            places=frozenset({"page"}),
            digits=4,
        )
    )
    converged: bool = field(
        metadata=figure(
            title="converged",
            definition="estimated error of its subspace within the recipe's `tol`, and of all that was projected away",
            meaning="whether to trust the rest",
            better="yes",
            places=frozenset({"list"}),
        )
    )
    space: str = "x_t"
    method: str = "projected"
    linear_range: float | None = field(
        default=None,
        metadata=figure(
            unit="strength",
            title="linear range",
            definition="largest strength at which the change is still linear, both signs",
            meaning="how far it can be applied",
            better="more",
            told="strengths up to {:g}",
        ),
    )
    products: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    prompt: str = ""
    edit_prompt: str = ""
    scope: str = "image"
    images: int = 1
    coverage: float | None = field(
        default=None,
        metadata=figure(
            unit="share of images",
            title="coverage",
            definition="of a dataset's direction: images whose norm(M J v) is at least 5 % of the median, of those "
            "that have the region",
            meaning="how many of the dataset's images it is a direction of",
            better="more",
            places=frozenset({"across"}),
            since=3,
            told="{:.0%} of the images respond",
        ),
    )
    stability: float | None = field(
        default=None,
        metadata=figure(
            title="stability",
            definition="of a dataset's direction: cosine of the angle to what either half of the images gives, "
            "the lesser",
            meaning="how little it depends on which images were looked at",
            better="more",
            places=frozenset({"across"}),
            since=3,
        ),
    )
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
    mask: "NDArray[np.bool_]"


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
    vectors: "NDArray[np.float32]"
    refused: tuple[Refusal, ...] = ()
    products: int = 0
    evaluations: int = 0
    provenance: dict[str, str | float] = field(default_factory=dict)
    arrays: "dict[str, NDArray[Any]]" = field(default_factory=dict)


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
