"""The API's catalogue: directions, what they are like, what is said of them, models, datasets."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cli.serve import asking
from cli.serve.access import Caller, needs
from flows.pictures.strength import shown_at
from loco.direction import Direction
from loco.evidence import FIGURES, TRANSFER
from loco.outside import printable
from registry import shapes
from registry.registry import Registry

router = APIRouter(tags=["catalogue"])

Reader = Annotated[Caller, Depends(needs("read"))]
Labeller = Annotated[Caller, Depends(needs("label"))]

Id = Annotated[str, Query(max_length=120)]

DECIDED = 200
"""Directions of which something is said at once."""


def registry_of(request: Request) -> Registry:
    """The catalogue that is served."""
    found: Registry = request.app.state.registry
    return found


Catalogue = Annotated[Registry, Depends(registry_of)]


def shown(registry: Registry, found: list[Direction]) -> list[dict[str, Any]]:
    """Directions as the API tells them: as lists do, and the strength at which they are shown."""
    told = registry.told(found)
    return [
        {
            **shapes.direction(one, told.labels, told.beside),
            "short": one.short,
            "strength_shown": shown_at(one, told.beside.get(one.id, {}).get("strength")),
            "rejected": one.id in told.rejected,
        }
        for one in found
    ]


@router.get("/directions")
def directions(
    asked: Annotated[asking.AskedPage, Query()],
    registry: Catalogue,
    _: Reader,
) -> dict[str, Any]:
    """A page of the directions that pass the filters: from a position (`start`) on, or after a `cursor`."""
    found = registry.page(
        start=asked.start,
        cursor=asked.cursor,
        **asking.filters(asked),
    )
    return {
        "total": found.total,
        "start": found.start,
        "cursor": found.cursor,
        "items": shown(registry, found.items),
    }


@router.get("/facets")
def facets(
    asked: Annotated[asking.Asked, Query()],
    registry: Catalogue,
    _: Reader,
) -> dict[str, Any]:
    """What could be chosen besides: values with counts, and the range of each figure."""
    filters = asking.filters(asked)
    return {
        "facets": {
            name: [asdict(one) for one in values] for name, values in registry.facets(**filters).items()
        },
        "ranges": registry.ranges(**filters),
    }


@router.get("/figures")
def figures(_: Reader) -> list[dict[str, Any]]:
    """Every figure of evidence: what it is called, what it means, which way is better, and where it is shown."""
    return [{**asdict(one), "places": sorted(one.places)} for one in (*FIGURES, *TRANSFER)]


@router.get("/directions/{name}")
def direction(name: str, registry: Catalogue, _: Reader) -> dict[str, Any]:
    """All that is known of one direction: its id, the beginning of it, or its alias."""
    one = registry.direction(name)
    basis = registry.basis(one.basis_id)
    return {
        **shown(registry, [one])[0],
        "image_name": basis.image_name,
        "roi_source": next((roi.source for roi in basis.rois if roi.id == one.roi_id), None),
        "recipe": asdict(basis.recipe),
        "refused": [asdict(refused) for refused in basis.refused],
        "basis_products": basis.products,
        "basis_evaluations": basis.evaluations,
        "provenance": basis.provenance,
        "datasets": sorted({dataset for dataset, _, _ in registry.places(one.image_id)}),
    }


@router.get("/directions/{name}/similar")
def similar(
    name: str,
    registry: Catalogue,
    _: Reader,
    roi: Id | None = None,
    model: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> list[dict[str, Any]]:
    """The directions most like it, by the cosine of their vectors."""
    one = registry.direction(name)  # a name only: files are for the command line
    found = registry.similar(one.id, roi=roi, model=model, limit=limit)
    told = shown(registry, [each.direction for each in found])
    return [{**each, "cosine": like.cosine} for each, like in zip(told, found, strict=True)]


@router.get("/directions/{name}/history")
def history(name: str, registry: Catalogue, _: Reader) -> list[dict[str, Any]]:
    """What was said of it, the first first."""
    return [asdict(one) for one in registry.history(name)]


@router.get("/directions/{name}/uses")
def uses(name: str, registry: Catalogue, _: Reader) -> list[dict[str, Any]]:
    """The runs that applied it, the latest first."""
    key = registry.direction(name).id
    return [
        {"id": one.id, "kind": one.kind, "status": one.status, "started_at": one.started_at}
        for one in registry.runs("apply")
        if any(_named(each, key) for each in one.spec.get("directions", ()))
    ][:100]


def _named(told: Any, key: str) -> bool:
    name = told[0] if isinstance(told, list | tuple) and told else told
    return isinstance(name, str) and len(name) >= 6 and key.startswith(name)


@router.get(
    "/directions/{name}/vector",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def vector(name: str, registry: Catalogue, _: Reader) -> Response:
    """Its vector as the bytes of a safetensors file: `vector` [C, H, W], float32."""
    from safetensors.numpy import save

    one = registry.direction(name)
    data = save({"vector": registry.vectors([one])[0]}, {"id": one.id, "model": one.model, "t": repr(one.t)})
    file = f'attachment; filename="{one.id}.safetensors"'
    return Response(data, media_type="application/octet-stream", headers={"content-disposition": file})


class Said(BaseModel):
    """Something that is said of directions, all or none."""

    model_config = ConfigDict(extra="forbid")
    action: Literal["label", "unlabel", "alias", "unalias", "reject", "restore"]
    ids: list[Annotated[str, Field(max_length=120)]] = Field(min_length=1, max_length=DECIDED)
    text: str = Field("", max_length=2000, description="the label, the alias' name, or the reason")


@router.post("/events")
def say(said: Said, registry: Catalogue, caller: Labeller) -> list[dict[str, Any]]:
    """Label, accept (label `accepted`), reject, restore or alias directions, several at once: all or none."""
    events = registry.say(said.action, said.ids, said.text, who=printable(caller.name))
    return [asdict(one) for one in events]


@router.get("/models")
def models(registry: Catalogue, _: Reader) -> list[dict[str, Any]]:
    """All registered models."""
    return [asdict(one) for one in registry.models()]


@router.get("/datasets")
def datasets(registry: Catalogue, _: Reader) -> list[dict[str, Any]]:
    """All registered datasets, with the number of their images."""
    counts = registry.image_counts()
    return [shapes.dataset(one, counts.get(one.name, 0)) for one in registry.datasets(pictured=False)]


@router.get("/datasets/{name}/images")
def images(
    name: str,
    registry: Catalogue,
    _: Reader,
    start: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """A page of a dataset's images."""
    dataset = registry.dataset(name, pictured=False)
    found = registry.images(dataset, start, limit)
    total = registry.image_counts().get(name, 0)
    return {"total": total, "start": start, "items": [asdict(one) for one in found]}
