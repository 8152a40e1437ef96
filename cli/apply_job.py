"""From options and a recipe file to an `ApplyJob`: what the numbers of `loco apply` mean."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.jobs import ApplyJob
from loco.errors import InputError
from loco.recipes import EditRecipe

FORMATS = ("png", "jpg", "webp")

Weighted = tuple[str, float | None]
"""A direction's id or its beginning, and the number given with it."""

_KNOWN = ("directions", "strengths", "steps", "t", "format", "limit")


def build_job(
    *,
    images: Path | None,
    dataset: str | None,
    out: Path,
    options: dict[str, Any],
    recipe: dict[str, Any],
) -> ApplyJob:
    """The job that `options` (None or empty where not given), completed by the `recipe`'s values, describe.

    Raises `InputError` for what does not go together, is missing, or is none of the recipe's.
    """
    if (images is None) == (dataset is None):
        found = "neither" if images is None else "both"
        raise InputError(f"expected either --images DIR or --dataset NAME, found {found}")
    unknown = sorted(set(recipe) - set(_KNOWN))
    if unknown:
        raise InputError(f"recipe: unknown name {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    values = {**recipe, **{name: value for name, value in options.items() if value not in (None, ())}}
    directions, strengths = meaning(_pairs(values.get("directions")), _numbers(values.get("strengths")))
    given = {name: values[name] for name in ("steps", "t", "format", "limit") if name in values}
    if given.get("format", "png") not in FORMATS:
        raise InputError(f"recipe: format must be one of {', '.join(FORMATS)}, found {given['format']!r}")
    limit = given.get("limit", 1)
    if type(limit) is not int or limit < 1:
        raise InputError(f"recipe: limit must be a whole number of at least 1, found {limit!r}")
    EditRecipe(
        t=given.get("t", 0.5), steps=given.get("steps", 20), directions=directions
    )  # checks t and steps
    return ApplyJob(
        directions=directions,
        strengths=strengths,
        out=out.expanduser().absolute(),
        images=None if images is None else images.expanduser().absolute(),
        dataset=dataset,
        **given,
    )


def meaning(
    directions: Sequence[Weighted], strengths: Sequence[float]
) -> tuple[tuple[tuple[str, float], ...], tuple[float, ...]]:
    """The weights of the directions and the strengths of their sum.

    With strengths, the numbers at the directions are weights, 1 where there is none. Without, they are the
    strengths: of a single direction it becomes the strength, of several the weights at strength 1.

    Raises `InputError` where nothing says how strong.
    """
    if not directions:
        raise InputError(
            "no direction to apply; give --direction ID:STRENGTH, ids are in `loco directions list`"
        )
    if strengths:
        weights = tuple((name, 1.0 if number is None else number) for name, number in directions)
        return weights, tuple(dict.fromkeys(strengths))
    numbers = [(name, number) for name, number in directions if number is not None]
    if len(numbers) < len(directions):
        bare = next(name for name, number in directions if number is None)
        raise InputError(
            f"direction {bare} has no strength; give it one with --direction {bare}:4, "
            f"or all directions with --strength 4"
        )
    if len(numbers) == 1:
        [(name, number)] = numbers
        return ((name, 1.0),), (number,)
    return tuple(numbers), (1.0,)


def _pairs(value: Any) -> list[Weighted]:
    """Directions as the command line or TOML has them."""
    if value is None:
        return []
    pairs: list[Weighted] = []
    for pair in value if isinstance(value, list | tuple) else [value]:
        named = isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[0]
        if not named or not (pair[1] is None or _is_number(pair[1])):
            raise InputError(f'recipe: directions must be like [["ID", 1.0]], found {pair!r}')
        pairs.append((pair[0], None if pair[1] is None else float(pair[1])))
    return pairs


def _numbers(value: Any) -> list[float]:
    """Strengths as the command line or TOML has them."""
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(map(_is_number, value)):
        raise InputError(f"recipe: strengths must be like [-4.0, 4.0], found {value!r}")
    return [float(one) for one in value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
