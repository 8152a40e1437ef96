"""From options and a recipe file to an `ApplyJob`: what the numbers of `loco apply` mean."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.jobs import ApplyJob, Mix
from flows.outputs.forms import CHOICES, form_of
from loco.errors import InputError
from loco.recipes import EditRecipe

Weighted = tuple[str, float | None]
"""A direction's id or its beginning, and the number given with it."""

AUTO = "auto"
"""Said in place of a number of steps: to measure what is enough."""

Strength = tuple[float, str]
"""A strength and its unit, `lambda` or `sd`."""

_SETTINGS = (
    "steps",
    "t",
    "format",
    "limit",
    "solver",
    "dtype",
    "against",
    "confine",
    "feather",
    "min_effect",
    "preview",
    "each",
    "beyond",
    "prompt",
    "negative",
    "guidance",
)
_KNOWN = ("directions", "strengths", *_SETTINGS)
_CHECKED = ("steps", "solver", "dtype", "min_effect", "feather", "prompt", "negative", "guidance")
_MORE = ("directions", "strengths", "label")


def build_job(
    *,
    images: str | None,
    dataset: str | None,
    out: str,
    options: dict[str, Any],
    recipe: dict[str, Any],
    more: Sequence[dict[str, Any]] = (),
) -> ApplyJob:
    """The job that `options` (None or empty where not given), completed by the `recipe`'s values, describe.

    `more` are further recipes: directions, strengths and a label each, applied to the same images.
    Raises `InputError` for what does not go together, is missing, or is none of the recipe's.
    """
    if (images is None) == (dataset is None):
        found = "neither" if images is None else "both"
        raise InputError(f"expected either --images DIR or --dataset NAME, found {found}")
    unknown = sorted(set(recipe) - set(_KNOWN))
    if unknown:
        raise InputError(f"recipe: unknown name {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    values = {**recipe, **{name: value for name, value in options.items() if value not in (None, ())}}
    numbers, unit = _numbers(values.get("strengths"))
    directions, strengths = meaning(_pairs(values.get("directions")), numbers)
    given = {name: values[name] for name in _SETTINGS if name in values}
    if given.get("steps") == AUTO:
        del given["steps"]
    if given.get("format", "png") not in CHOICES:
        raise InputError(f"recipe: format must be one of {', '.join(CHOICES)}, found {given['format']!r}")
    form_of(given.get("format", "png"), out)
    limit = given.get("limit", 1)
    if type(limit) is not int or limit < 1:
        raise InputError(f"recipe: limit must be a whole number of at least 1, found {limit!r}")
    checked = {name: given[name] for name in _CHECKED if name in given}
    EditRecipe(
        given.get("t", 0.5), tuple((name, 1.0 if w is None else w) for name, w in directions), **checked
    )
    for name in ("preview", "each", "beyond"):
        if type(given.get(name, False)) is not bool:
            raise InputError(f"recipe: {name} must be true or false, found {given[name]!r}")
    if not isinstance(given.get("confine", ""), str):
        raise InputError(f"recipe: confine must be a region, found {given['confine']!r}")
    against = given.get("against", ())
    if not isinstance(against, list | tuple) or not all(isinstance(one, str) for one in against):
        raise InputError(f'recipe: against must be like ["ID"], found {against!r}')
    if "against" in given:
        given["against"] = tuple(against)
    return ApplyJob(
        directions=directions,
        strengths=strengths,
        out=_place(out),
        images=None if images is None else _place(images),
        dataset=dataset,
        also=tuple(_mix(one, unit) for one in more),
        unit=unit,
        **given,
    )


def _place(text: str) -> Path | str:
    """A path made absolute, or a URL as it is."""
    from flows.inputs.places import local_path

    path = local_path(text)
    return text if path is None else path.expanduser().absolute()


def _mix(recipe: dict[str, Any], unit: str) -> Mix:
    """What a further recipe file applies."""
    unknown = sorted(set(recipe) - set(_MORE))
    if unknown:
        raise InputError(
            f"recipe: a further recipe file can set {', '.join(_MORE)}, found {unknown[0]!r}; "
            f"put it into the first, it holds for all"
        )
    numbers, own = _numbers(recipe.get("strengths"))
    if numbers and own != unit:
        raise InputError(
            f"recipe: strengths of one job are all in lambda or all in sd, found {own} and {unit}"
        )
    directions, strengths = meaning(_pairs(recipe.get("directions")), numbers)
    name = recipe.get("label", "")
    if (
        not isinstance(name, str)
        or not all(one.isalnum() or one in "-+._" for one in name)
        or name.startswith(".")
    ):
        raise InputError(f"recipe: label must be of letters, digits and -+._, found {name!r}")
    return Mix(directions, strengths, name)


def meaning(
    directions: Sequence[Weighted], strengths: Sequence[float]
) -> tuple[tuple[Weighted, ...], tuple[float, ...]]:
    """The weights of the directions and the strengths of their sum.

    With strengths, the numbers at the directions are weights, 1 where there is none. Without, they are the
    strengths: of a single direction it becomes the strength, of several the weights at strength 1. Where a direction
    has no number, none is settled here: it gets its recommended strength (`flows.apply.strengths`).

    Raises `InputError` where there is no direction.
    """
    if not directions:
        raise InputError(
            "no direction to apply; give --direction ID:STRENGTH, ids are in `loco directions list`"
        )
    if strengths:
        weights = tuple((name, 1.0 if number is None else number) for name, number in directions)
        return weights, tuple(dict.fromkeys(strengths))
    if any(number is None for _, number in directions):
        return tuple(directions), ()
    numbers = [number for _, number in directions if number is not None]
    if len(numbers) == 1:
        return ((directions[0][0], 1.0),), (numbers[0],)
    return tuple(directions), (1.0,)


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


def _numbers(value: Any) -> tuple[list[float], str]:
    """Strengths as the command line or TOML has them, and their unit."""
    if value is None:
        return [], "lambda"
    if not isinstance(value, list | tuple):
        raise InputError(f"recipe: strengths must be like [-4.0, 4.0], found {value!r}")
    found = [(one if isinstance(one, tuple) else parse_strength(one)) for one in value]
    if None in found:
        raise InputError(f'recipe: strengths must be like [-4.0, 4.0] or ["0.5sd"], found {value!r}')
    units = {unit for one in found if one for unit in one[1:]}
    if len(units) > 1:
        raise InputError("strengths of one job are all in lambda or all in sd, found both")
    return [one[0] for one in found if one], units.pop() if units else "lambda"


def parse_strength(value: Any) -> Strength | None:
    """A number, or the text of one, with `sd` behind it or without; None for anything else."""
    unit = "lambda"
    if isinstance(value, str):
        unit = "sd" if value.endswith("sd") else unit
        try:
            value = float(value.removesuffix("sd"))
        except ValueError:
            return None
    return (float(value), unit) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
