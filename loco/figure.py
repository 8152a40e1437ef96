"""What a figure of evidence is, and how a field of a dataclass is made one: `loco.evidence` has them all."""

from dataclasses import Field, dataclass, fields
from typing import Any, Literal

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


KEY = "figure"
"""Where a field's metadata has it."""

EVERYWHERE: frozenset[Place] = frozenset({"list", "page", "groups"})
"""Lists, pages and groups."""


def figure(
    *,
    title: str,
    definition: str,
    meaning: str,
    better: Literal["more", "less", "yes", "neither"],
    unit: str = "",
    places: frozenset[Place] = frozenset(),
    brief: str = "",
    digits: int = 3,
    told: str = "",
    since: int = 2,
) -> dict[str, dict[str, Any]]:
    """The metadata of a field that is a figure: the field says its name, and the field's type `kind` and `known`."""
    return {KEY: dict(locals())}


def figures_of(kind: type) -> tuple[Figure, ...]:
    """The figures among the fields of a dataclass, in their order."""
    return tuple(_of(one) for one in fields(kind) if KEY in one.metadata)


def _of(field: "Field[Any]") -> Figure:
    """A field's figure; a type that no figure has raises `KeyError`."""
    kind, known = _TYPES[field.type]
    return Figure(name=field.name, kind=kind, known=known, **field.metadata[KEY])


_TYPES: dict[Any, tuple[Literal["number", "yes or no"], bool]] = {
    float: ("number", True),
    float | None: ("number", False),
    bool: ("yes or no", True),
}
