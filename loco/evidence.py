"""The figures that are evidence for a direction, each defined once: lists, pages and docs say what stands here.

`FIGURES` are fields of `loco.direction.Direction`, measured by `loco.discover` where a direction is found; `TRANSFER`
is measured on other images (`loco.measure.transfer`). The catalogue's columns are made from here.
"""

from dataclasses import dataclass
from typing import Literal

Place = Literal["list", "page", "groups", "across"]
"""Where a figure is shown besides `loco directions show` and the docs: lists, the demonstration's page, groups, and
lists with directions of datasets in them."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: Its field and its column.
        kind: `number`, or `yes or no`.
        unit: What it is counted in; empty for a plain ratio.
        title: What people are shown over it.
        definition: How it is made, as docs have it.
        meaning: What it tells.
        better: Which way is better.
        places: Where it is shown.
        brief: A few words for a page, where the title does not say enough.
        digits: Decimals on a page.
        known: Whether every direction has it; else it may be None.
        told: How a value is told in words.
        since: Version of the catalogue's tables that first has its column: a new figure says the next one, which an
            older catalogue is then led to. It is not known of what was found before.
    """

    name: str
    kind: Literal["number", "yes or no"]
    unit: str
    title: str
    definition: str
    meaning: str
    better: Literal["more", "less", "yes", "neither"]
    places: frozenset[Place] = frozenset()
    brief: str = ""
    digits: int = 3
    known: bool = True
    told: str = ""
    since: int = 2

    def words(self, value: float | bool | None) -> object:
        """A value as `loco directions show` tells it."""
        return value if value is None or not self.told else self.told.format(value)


RESPONDS = 0.05
"""An image responds where the direction's gain at it is at least this fraction of its own, the least effect from which
`loco apply` makes an edit (`EditRecipe.min_effect`)."""

_EVERYWHERE: frozenset[Place] = frozenset({"list", "page", "groups"})

FIGURES = (
    Figure(
        name="gain",
        kind="number",
        unit="pixel values in [-1, 1] per unit of strength",
        title="gain",
        definition="norm(M J v) after projection",
        meaning="change inside the region, per unit of strength",
        better="more",
        places=_EVERYWHERE,
        brief="gain ‖J v‖ inside",
    ),
    Figure(
        name="leakage",
        kind="number",
        unit="",
        title="leakage",
        definition="RMS of J v per pixel outside over RMS per pixel inside",
        meaning="change outside as a fraction of the change inside",
        better="less",
        places=_EVERYWHERE,
        brief="leakage, RMS out / in",
        known=False,
    ),
    Figure(
        name="retained",
        kind="number",
        unit="",
        title="retained",
        definition="norm(v_p), in (0, 1]",
        meaning="length of the direction left after the projection off the outside",
        better="more",
        places=frozenset({"list", "page"}),
        known=False,
    ),
    Figure(
        name="singular_value",
        kind="number",
        unit="as gain",
        title="singular value",
        definition="s, of M J",
        meaning="how strongly the region responds to its own best direction",
        better="more",
        places=frozenset({"page"}),
    ),
    Figure(
        name="residual",
        kind="number",
        unit="",
        title="residual",
        definition="norm(J' M u - s v) / s",
        meaning="how exact that triplet is",
        better="less",
        places=frozenset({"page"}),
        digits=4,
    ),
    Figure(
        name="converged",
        kind="yes or no",
        unit="",
        title="converged",
        definition="estimated error of its subspace within the recipe's `tol`, and of all that was projected away",
        meaning="whether to trust the rest",
        better="yes",
        places=frozenset({"list"}),
    ),
    Figure(
        name="linear_range",
        kind="number",
        unit="strength",
        title="linear range",
        definition="largest strength at which the change is still linear, both signs",
        meaning="how far it can be applied",
        better="more",
        known=False,
        told="strengths up to {:g}",
    ),
    Figure(
        name="coverage",
        kind="number",
        unit="share of images",
        title="coverage",
        definition="of a dataset's direction: images whose norm(M J v) is at least 5 % of the median, of those that "
        "have the region",
        meaning="how many of the dataset's images it is a direction of",
        better="more",
        places=frozenset({"across"}),
        known=False,
        since=3,
        told="{:.0%} of the images respond",
    ),
    Figure(
        name="stability",
        kind="number",
        unit="",
        title="stability",
        definition="of a dataset's direction: cosine of the angle to what either half of the images gives, the lesser",
        meaning="how little it depends on which images were looked at",
        better="more",
        places=frozenset({"across"}),
        known=False,
        since=3,
    ),
)
"""All of them, in the order in which they are shown."""


TRANSFER = (
    Figure(
        name="transfer",
        kind="number",
        unit="share of images",
        title="transfer",
        definition="share of the images with the region that respond, and whose change in it has a cosine of more "
        "than 0.5 to the mean change of the other images",
        meaning="on how many other images it does what it does on most",
        better="more",
        places=frozenset({"list"}),
        known=False,
    ),
    Figure(
        name="transfer_gain",
        kind="number",
        unit="as gain",
        title="transfer gain",
        definition="median of norm(M J v) over the images with the region, each with its own J and M",
        meaning="change inside the region of other images, per unit of strength",
        better="more",
        known=False,
    ),
    Figure(
        name="transfer_leakage",
        kind="number",
        unit="",
        title="transfer leakage",
        definition="median of leakage over the images with the region",
        meaning="change outside as a fraction of the change inside, on other images",
        better="less",
        known=False,
    ),
    Figure(
        name="transfer_cosine",
        kind="number",
        unit="",
        title="transfer cosine",
        definition="median over the images with the region of the cosine of M J v to the mean of M J v / norm(M J v) "
        "over other images",
        meaning="how alike its effects are",
        better="more",
        known=False,
    ),
    Figure(
        name="responding",
        kind="number",
        unit="share of images",
        title="responding",
        definition="share of all images that have the region and whose gain is at least 5 % of that where the "
        "direction was found",
        meaning="on how many other images it does anything",
        better="more",
        known=False,
    ),
    Figure(
        name="no_op",
        kind="number",
        unit="share of images",
        title="no-op",
        definition="1 - responding: the region is not there, or does not respond",
        meaning="how many images it leaves as they are",
        better="neither",
        known=False,
    ),
    Figure(
        name="transfer_range",
        kind="number",
        unit="strength",
        title="transfer range",
        definition="median of the linear range over some of the responding images",
        meaning="how far it can be applied on other images",
        better="more",
        known=False,
    ),
    Figure(
        name="strength",
        kind="number",
        unit="strength",
        title="strength",
        definition="see *A recommended strength*",
        meaning="what `loco apply` takes where none is given",
        better="neither",
        places=frozenset({"list"}),
        known=False,
    ),
    Figure(
        name="strength_least",
        kind="number",
        unit="strength",
        title="least strength",
        definition="least strength whose change is seen on nine images of ten",
        meaning="where its effect begins to be seen",
        better="less",
        known=False,
    ),
    Figure(
        name="strength_most",
        kind="number",
        unit="strength",
        title="most strength",
        definition="greatest strength that nine images of ten take without saturating or leaving the linear range",
        meaning="where its effect ends",
        better="more",
        known=False,
    ),
)
"""What `loco score` measures on images that the direction was not found on, in the order in which it is shown."""


def shown_in(*places: Place) -> tuple[Figure, ...]:
    """The figures that are shown in any of these places."""
    return tuple(one for one in FIGURES if not one.places.isdisjoint(places))
