"""The API's lists, kept views, and the map."""

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from cli.serve import asking
from cli.serve.catalogue import Catalogue, Labeller, Reader, shown
from loco.outside import printable
from registry.files.lists import LONGEST, DirectionList, all_lists, change, forget, one_list

router = APIRouter(tags=["lists"])

_Text = Annotated[str, Field(max_length=LONGEST)]
_Id = Annotated[str, Field(max_length=120)]


class Listed(BaseModel):
    """What a list holds, or the view that is kept."""

    model_config = ConfigDict(extra="forbid")
    note: _Text = ""
    ids: list[_Id] = Field(default_factory=list, max_length=2000)
    notes: dict[_Id, _Text] = Field(default_factory=dict, max_length=2000)
    query: _Text = ""


class Added(BaseModel):
    """Directions to be in a list, besides those that are."""

    model_config = ConfigDict(extra="forbid")
    ids: list[_Id] = Field(min_length=1, max_length=2000)


@router.get("/lists")
def lists(registry: Catalogue, _: Reader) -> list[dict[str, Any]]:
    """All lists and views, by name."""
    return [asdict(one) for one in all_lists(registry.home)]


@router.get("/lists/{name}")
def listed(name: str, registry: Catalogue, _: Reader) -> dict[str, Any]:
    """One list with its directions; `gone` are those that the catalogue no longer has."""
    one = one_list(registry.home, name)
    found = {each.id: each for each in registry.those(one.ids)}
    items = [found[key] for key in one.ids if key in found]
    gone = [key for key in one.ids if key not in found]
    return {**asdict(one), "items": shown(registry, items), "gone": gone}


@router.put("/lists/{name}")
def put(name: str, told: Listed, registry: Catalogue, caller: Labeller) -> dict[str, Any]:
    """Make a list, or replace what it holds."""
    ids = tuple(registry.direction(one).id for one in dict.fromkeys(told.ids))
    made = DirectionList(
        name, told.note, ids, {k: v for k, v in told.notes.items() if k in ids and v}, told.query
    )
    return asdict(change(registry.home, name, printable(caller.name), lambda _: made))


@router.post("/lists/{name}/items")
def add(name: str, told: Added, registry: Catalogue, caller: Labeller) -> dict[str, Any]:
    """Add directions to a list, which is made where there is none; what others add meanwhile stays."""
    ids = [registry.direction(one).id for one in told.ids]

    def with_them(one: DirectionList) -> DirectionList:
        return replace(one, ids=tuple(dict.fromkeys((*one.ids, *ids))))

    return asdict(change(registry.home, name, printable(caller.name), with_them))


@router.delete("/lists/{name}")
def remove(name: str, registry: Catalogue, _: Labeller) -> dict[str, Any]:
    """Delete a list or view; its directions stay."""
    forget(registry.home, name)
    return {"removed": name}


@router.get("/map")
def plane(asked: Annotated[asking.Asked, Query()], registry: Catalogue, _: Reader) -> dict[str, Any]:
    """Directions in the plane of their sketches' two main axes; of more than 20,000 an even part."""
    found = registry.plane(**asking.filters(asked))
    labels = registry.labels() if found.points else {}
    points = [
        {
            **asdict(one),
            "label": next((text for text in labels.get(one.id, ()) if "@" not in text), None),
        }
        for one in found.points
    ]
    return {"points": points, "total": found.total, "explained": found.explained}
