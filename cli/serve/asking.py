"""From a URL's parameters to `Filters`: the names and meanings of `loco directions list`, whatever they are."""

from typing import TYPE_CHECKING, Any, get_type_hints

import click
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, create_model

from cli.directions.filters import levels
from loco.errors import InputError
from registry.index.selection import Filters

RANGES = frozenset(name for name, kind in get_type_hints(Filters).items() if "tuple[float" in str(kind))
"""Filters by one number or two."""

LONGEST = 2000
"""Characters of one parameter."""


def _fields() -> dict[str, Any]:
    """One field a filter, by its type; a level or two is text, as on the command line."""
    found: dict[str, Any] = {}
    for name, kind in get_type_hints(Filters).items():
        told = str(kind)
        if name in RANGES:
            found[name] = (str | None, Field(None, max_length=LONGEST, description="0.5 or 0.4..0.6"))
        elif "Sequence" in told:
            found[name] = (list[str] | None, Field(None, max_length=200, description="any of these"))
        elif "bool" in told:
            found[name] = (bool | None, None)
        elif "int" in told:
            found[name] = (int | None, Field(None, ge=1, le=200))
        elif "float" in told:
            found[name] = (FiniteFloat | None, None)
        else:
            found[name] = (str | None, Field(None, max_length=LONGEST))
    return found


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


if TYPE_CHECKING:

    class Asked(BaseModel):
        """The filters of a list."""

    class AskedPage(Asked):
        """The same, of one page."""

        start: int
        cursor: str | None

else:
    Asked = create_model("Filters", __base__=_Strict, **_fields())
    AskedPage = create_model(
        "FiltersOfAPage",
        __base__=_Strict,
        **_fields(),
        start=(int, Field(0, ge=0, le=2**53, description="position of the first")),
        cursor=(
            str | None,
            Field(None, max_length=4000, description="what the page before gave, instead of start"),
        ),
    )


def filters(asked: BaseModel) -> Filters:
    """The filters that the parameters name; raises `InputError` for a level that is none."""
    given: Any = {
        name: value
        for name, value in asked.model_dump().items()
        if value is not None and name in Filters.__annotations__
    }
    for name in given.keys() & RANGES:
        try:
            given[name] = levels(given[name])
        except click.BadParameter as error:
            raise InputError(f"{name}: {error.message}") from error
    found: Filters = given
    return found
