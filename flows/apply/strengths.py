"""How strong directions are applied that were given no strength: as was recommended, and several as one budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.jobs import ApplyJob, Mix
from loco.direction import Direction
from loco.errors import UnknownName
from loco.measure.strength import from_gain, shared
from loco.ranges import check
from registry.records import ModelRecord, Transfer
from registry.registry import Registry


@dataclass(frozen=True)
class Settled:
    """A sum of directions with strengths.

    Attributes:
        directions: The directions.
        weights: Theirs, at strength 1.
        strengths: Those of the sum.
        label: As the mix has it.
        levels: The noise level at which each is to be added; None for its own, or the job's.
        suited: Places of the directions whose strength was recommended: it is not clipped.
    """

    directions: tuple[Direction, ...]
    weights: tuple[float, ...]
    strengths: tuple[float, ...]
    label: str
    levels: tuple[float | None, ...]
    suited: frozenset[int] = frozenset()


def settled(
    registry: Registry, job: ApplyJob, model: ModelRecord, known: dict[str, Transfer]
) -> tuple[list[Settled], list[str], tuple[tuple[str, float], ...]]:
    """The job's sums with strengths, what is to be said of those, and the recommended ones that were taken."""
    taken = dict(job.suited)
    sums: list[Settled] = []
    notes: list[str] = []
    for mix in job.mixes:
        named = [levelled(registry, name) for name, _ in mix.directions]
        directions, levels = tuple(one for one, _ in named), tuple(level for _, level in named)
        given = tuple(weight for _, weight in mix.directions)
        if mix.strengths:
            weights = tuple(1.0 if weight is None else weight for weight in given)
            sums.append(Settled(directions, weights, mix.strengths, mix.label, levels))
            continue
        bare = [place for place, weight in enumerate(given) if weight is None]
        for place in bare:
            one = directions[place]
            if one.id not in taken:
                strength, note = recommended(one, known.get(one.id), model)
                taken[one.id] = strength
                notes.append(note)
        sums.append(replace(_summed(registry, mix, directions, given, bare, taken), levels=levels))
    return sums, list(dict.fromkeys(notes)), tuple(sorted(taken.items()))


def levelled(registry: Registry, name: str) -> tuple[Direction, float | None]:
    """The direction of a name, `ID` or `ID@T` with a noise level to add it at; raises `UnknownName`.

    An alias `NAME@LABEL` is an alias first.
    """
    try:
        return registry.direction(name), None
    except UnknownName:
        head, at, text = name.rpartition("@")
        try:
            level = float(text)
        except ValueError:
            at = ""
        if not at:
            raise
        check("t", level, f"direction {head[:80]}")
        return registry.direction(head), level


def recommended(direction: Direction, known: Transfer | None, model: ModelRecord) -> tuple[float, str]:
    """The strength that is recommended for a direction, and where it is from, in words."""
    name = f"{direction.roi}-{direction.id[:8]}"
    if known is not None and known.strength is not None:
        return (
            known.strength,
            f"strength {known.strength:g} of {name}, as `loco score` found on {known.on_dataset}",
        )
    strength = from_gain(direction, math.prod(model.shape))
    return strength, (
        f"strength {strength:g} of {name} is reckoned from its gain; `loco score` measures what suits other images"
    )


def _summed(
    registry: Registry,
    mix: Mix,
    directions: tuple[Direction, ...],
    given: Sequence[float | None],
    bare: list[int],
    taken: dict[str, float],
) -> Settled:
    own = [taken[directions[place].id] for place in bare]
    if len(bare) > 1:
        vectors = registry.vectors([directions[place] for place in bare]).reshape(len(bare), -1)
        own = list(shared((vectors @ vectors.T).tolist(), own))
    weights = [0.0 if weight is None else weight for weight in given]
    for place, strength in zip(bare, own, strict=True):
        weights[place] = strength
    if len(weights) == 1:  # as a single number is taken: the strength, not the weight
        return Settled(directions, (1.0,), (weights[0],), mix.label, (), frozenset(bare))
    return Settled(directions, tuple(weights), (1.0,), mix.label, (), frozenset(bare))
