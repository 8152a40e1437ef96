"""What a pass of a discovery across a dataset leads to: the state after it, from the state before and the sums."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.discover.across import AcrossOutcome, Member
from flows.discover.across_basis import Whole
from flows.discover.rounds import Rounds, Seen
from loco.errors import DirectionError
from loco.recipes import DiscoverRecipe

if TYPE_CHECKING:
    from loco.across import Answers, Shaped
    from loco.linalg.krylov import Triplets
    from loco.linalg.pooled import Pool

RANGED = 8
"""Images on which linear ranges are measured; the median is the direction's."""

STALE = 0.8
"""Rounds on ever other images end where two of them left more than this fraction of the estimated error: what is left
then is not what the space lacks, but how the images differ."""


@dataclass
class Total:
    """What a pass came to so far: sums by name, and what was told of each image."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    outcomes: list[AcrossOutcome] = field(default_factory=list)


def members_of(rounds: Rounds, recipe: DiscoverRecipe) -> dict[str, Member]:
    """What the chunks of the present pass know of each image; nothing before the first round."""
    if rounds.phase not in ("round", "answers"):
        return {}
    from loco.across import weights_of

    weights = weights_of([one.answers for one in rounds.seen])
    ranged = rounds.phase == "answers" and recipe.ranged
    return {
        one.id: Member(weight, number % 2, ranged and number < RANGED)
        for number, (one, weight) in enumerate(zip(rounds.seen, weights, strict=True))
    }


def wanted(rounds: Rounds, recipe: DiscoverRecipe) -> set[str]:
    """The images that take part in the pass: all, or in rounds as many as are asked for, each time others."""
    ids, most = [one.id for one in rounds.seen], recipe.images_per_round
    if rounds.phase != "round" or not most or most >= len(ids):
        return set(ids)

    def draw(image_id: str) -> bytes:
        return hashlib.sha256(f"{recipe.seed} {rounds.number} {image_id}".encode()).digest()

    return set(sorted(ids, key=draw)[:most])


def started(whole: Whole, rounds: Rounds, total: Total) -> Rounds:
    """After the first pass: which images take part, and where the space begins.

    Without an image that has a region nothing is seen; where the basis file is there already, the phase is `known`.
    """
    seen, absent, sources = dict[str, Seen](), set[str](), [""] * len(whole.names)
    for one in total.outcomes:
        if one.status == "done":
            seen[one.id] = Seen(one.id, one.answers, one.rois, one.areas, bool(one.failures))
            sources = [before or source for before, source in zip(sources, one.sources, strict=True)]
        elif one.status == "absent":
            absent.add(one.id)
    ordered = tuple(seen[key] for key in sorted(seen))
    rounds = replace(rounds, seen=ordered, absent=tuple(sorted(absent - seen.keys())), sources=tuple(sources))
    if not ordered:
        return rounds
    if whole.is_made(rounds.looked, ordered):
        return replace(rounds, phase="known")
    rounds = replace(rounds, phase="round", pool=_begun(whole, total), masks=total.arrays["masks"])
    return _pulled(rounds, total) if whole.recipe.toward else rounds


def _begun(whole: Whole, total: Total) -> "Pool":
    import torch

    from loco.linalg.pooled import GRAIN, Pool
    from loco.precision import algebra

    recipe, count = whole.recipe, len(whole.names)
    start = (torch.from_numpy(total.arrays["start"]).double() * GRAIN).to(algebra(recipe.dtype))
    values = start.shape[-1]
    ranks = (0 if recipe.toward else recipe.rank,) * count + (recipe.null_rank,) * count
    return Pool.begin(start, [min(one, values) for one in ranks], recipe.tol)


def _pulled(rounds: Rounds, total: Total) -> Rounds:
    """With the mean pulls toward the number that is asked for."""
    from loco.linalg.pooled import GRAIN

    sums, numbers = (total.arrays[name] for name in ("pulls", "pull_counts"))
    sums, numbers = np.stack([sums.sum(0), *sums]), np.stack([numbers.sum(0), *numbers])
    pulls = sums * GRAIN / np.maximum(numbers, 1)[:, :, None]
    lengths = total.arrays["pull_lengths"] * GRAIN / np.maximum(numbers[0], 1)
    return replace(rounds, pulls=pulls, lengths=tuple(map(float, lengths)))


def extended(whole: Whole, rounds: Rounds, total: Total) -> Rounds:
    """After a round: the space with what the images said, and whether another round is needed."""
    import torch

    from loco.linalg.pooled import Sums

    recipe = whole.recipe
    if rounds.pool is None:
        raise DirectionError("a round without a space; begin the run anew")
    members = members_of(rounds, recipe)
    weights = torch.zeros((2, len(rounds.pool.ranks)), dtype=torch.float64)
    for image_id in sorted(wanted(rounds, recipe)):
        one = members[image_id]
        weights[one.half] += torch.tensor(one.weights * 2, dtype=torch.float64)
    pool = rounds.pool.extended(Sums(torch.from_numpy(total.arrays["products"]), weights))
    errors = (*rounds.errors, max(one.error for one in pool.solved()))
    stale = bool(recipe.images_per_round) and len(errors) > 3 and errors[-1] > STALE * errors[-3]
    finished = not len(pool.fresh) or pool.rounds >= recipe.max_rounds or stale
    return replace(rounds, phase="answers" if finished else "round", pool=pool, errors=errors)


def shaped_of(whole: Whole, rounds: Rounds) -> "Shaped":
    """The directions that the space holds."""
    from loco.across import shape_all

    if rounds.pool is None:
        raise DirectionError("answers without a space; begin the run anew")
    return shape_all(rounds.pool, whole.recipe, whole.names, _towards(rounds, whole.recipe))


def _towards(rounds: Rounds, recipe: DiscoverRecipe) -> "list[list[Triplets] | None]":
    """The regions' pulls toward a number, of all images and of either half; nothing without one."""
    if rounds.pulls is None:
        return []
    import torch

    from loco.toward import triplets_of

    dtype = getattr(torch, recipe.dtype)
    return [
        triplets_of(one, rounds.lengths) if number == 0 or bool(one.any()) else None
        for number, one in enumerate(torch.from_numpy(rounds.pulls).to(dtype))
    ]


def answers_of(
    rounds: Rounds, outcomes: Sequence[AcrossOutcome], count: int
) -> "tuple[Answers, AcrossOutcome]":
    """What the images said to `count` directions, and what the first of them told: device, and shape of vectors."""
    from loco.across import Answers, weights_of

    told = {one.id: one for one in outcomes if one.status == "done"}
    ids = [one.id for one in rounds.seen]
    gains, leakages = (
        np.array([getattr(told[key], name) for key in ids], np.float64).reshape(len(ids), count)
        for name in ("gains", "leakages")
    )
    measured = [told[key].ranges for key in ids if told[key].ranges]
    ranges = [
        [one[row] for one in measured if one[row] is None or one[row] == one[row]] for row in range(count)
    ]
    first = told[ids[0]]
    answers = Answers(
        tuple(ids),
        gains,
        leakages,
        ranges,
        np.array(weights_of([one.answers for one in rounds.seen])),
        rounds.spent[0],
        rounds.spent[1] + len(ids) * first.inversion,
        rounds.certain,
        first.step,
        first.alpha_bar,
    )
    return answers, first
