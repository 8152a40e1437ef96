"""The figures that are evidence for a direction, each defined once: lists, pages and docs say what stands here.

`FIGURES` are fields of `loco.direction.Direction`, measured by `loco.discover` where a direction is found; `TRANSFER`
is measured on other images (`loco.measure.transfer`). The catalogue's columns are made from here.
"""

from loco.direction import Direction
from loco.figure import Figure, Place, figures_of

RESPONDS = 0.05
"""An image responds where the direction's gain at it is at least this fraction of its own, the least effect from which
`loco apply` makes an edit (`EditRecipe.min_effect`)."""

FIGURES = figures_of(Direction)
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
