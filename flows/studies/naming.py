"""Names of directions: what a scorer reads differently when they are added to images, kept as labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.engine.watch import Watch
from flows.pictures import edits
from flows.studies.meaning import IMAGES, Audited, audit
from loco.direction import Direction
from loco.measure.meaning import Name, named
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.scorers.scorer import Scorer

GENTLE = 0.5
"""Share of the recommended strength at which a meaning is read: a scorer learnt images, and strong edits leave them
(docs/scorers.md)."""

_WHO = 200
"""Characters that an author's name may have."""


@dataclass(frozen=True)
class Named:
    """What a direction is called.

    Attributes:
        audited: What the scorer made of it.
        plus, minus: What it does when it is added, and when it is taken away; None where nothing is beyond chance.
        kept: Whether the name stands in the catalogue: not where a person said or took away the same.
    """

    audited: Audited
    plus: Name | None
    minus: Name | None
    kept: bool

    def row(self) -> dict[str, Any]:
        """The same as plain data."""
        one = self.audited
        return {
            "direction": one.direction.id,
            "roi": one.direction.roi,
            "strength": one.strength,
            "images": one.images,
            "plus": None if self.plus is None else self.plus.text,
            "minus": None if self.minus is None else self.minus.text,
            "score": None if self.plus is None else self.plus.score,
            "kept": self.kept,
        }


def name_directions(
    registry: Registry,
    scorer: "Scorer",
    directions: Sequence[Direction],
    dataset: str,
    watch: Watch,
    *,
    images: int = IMAGES,
    steps: int = edits.STEPS,
    keep: bool = True,
) -> list[Named]:
    """The names of directions by what a scorer reads on images of the dataset; where they are to be kept, as labels.

    Raises what `audit` does.
    """
    found = audit(
        registry,
        scorer,
        [(one, None) for one in directions],
        dataset,
        watch,
        images=images,
        steps=steps,
        share=GENTLE,
    )
    names = [(one, named(one.plus, scorer.words), named(one.minus, scorer.words)) for one in found]
    kept: set[str] = set()
    if keep:
        given = registry.name(
            {
                one.direction.id: None if plus is None else (plus.text[:_WHO].strip(), plus.score)
                for one, plus, _ in names
            },
            who=scorer.source[-_WHO:].strip(),
            method=f"{scorer.id[:12]}, signed-rank test over {found[0].images if found else 0} images of {dataset}",
        )
        kept = {one.direction_id for one in given}
    return [Named(one, plus, minus, one.direction.id in kept) for one, plus, minus in names]
