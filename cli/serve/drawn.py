"""The API's pictures: strips, images, how a dataset responds, previews at once and exact renders from the queue."""

import base64
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from cli.serve.access import Caller, needs
from cli.serve.catalogue import Catalogue, Id, Reader, shown
from cli.serve.queue import Queue
from cli.serve.uploads import Uploads
from loco.direction import Direction
from loco.errors import InputError
from loco.ids import bytes_id, content_id
from loco.outside import printable
from loco.ranges import check
from registry.files import pictures
from registry.registry import Registry

router = APIRouter(tags=["pictures"])

TOGETHER = 3
"""Directions that are composed at once."""

KEPT = {"cache-control": "private, max-age=86400"}
"""Of pictures whose URL says what is on them."""

_PNG: Any = {"response_class": Response, "responses": {200: {"content": {"image/png": {}}}}}

Sha = Annotated[str, Query(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]


def _queue(request: Request) -> Queue:
    found: Queue = request.app.state.queue
    return found


def _uploads(request: Request) -> Uploads:
    found: Uploads = request.app.state.uploads
    return found


Waiting = Annotated[Queue, Depends(_queue)]
Uploaded = Annotated[Uploads, Depends(_uploads)]


@router.get("/directions/{name}/picture.png", **_PNG)
async def picture(
    name: str, registry: Catalogue, queue: Waiting, _: Reader, image: Sha | None = None
) -> Response:
    """Its strip: five strengths, the region outlined at 0, where it changes, the direction about gray.

    On the image of that sha256, by default its own. `X-Loco-Trouble` says why the edits are not shown, if they are not.
    """
    from flows.pictures.strips import kept, strip

    one = await run_in_threadpool(registry.direction, name)
    if image is None and one.scope == "image":
        path = await run_in_threadpool(kept, registry, one)
        data = None if path is None else await run_in_threadpool(pictures.get, registry.home, path.stem)
        if data is not None:
            return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=600"})
    made = await queue.do(f"strip {one.id} {image}", partial(strip, registry, one, image))
    trouble = {"x-loco-trouble": printable(made.trouble)[:300].encode("ascii", "replace").decode()}
    return Response(
        made.data,
        media_type="image/png",
        headers={"cache-control": "private, max-age=600"} | (trouble if made.trouble else {}),
    )


@router.get("/directions/{name}/responses")
async def responses(
    name: str, registry: Catalogue, queue: Waiting, _: Reader, dataset: Id | None = None
) -> dict[str, Any]:
    """How a dataset's first images respond to it: the gain of each, and those that do most, middling and hardly."""
    from flows.pictures.response import picked, ranked

    def work() -> dict[str, Any]:
        one = registry.direction(name)
        told = dataset
        if told is None:
            if one.scope == "dataset":
                told = registry.basis(one.basis_id).image_name
            else:
                told = next((each for each, _, _ in registry.places(one.image_id)), None)
        if told is None:
            raise InputError("its image is in no dataset; name one with ?dataset=NAME")
        found = ranked(registry, one, registry.dataset(told, pictured=False))
        plain = [{"id": each.id, "name": each.name, "gain": each.gain} for each in found]
        shown_on = [{"id": each.id, "name": each.name, "gain": each.gain} for each in picked(found)]
        return {"dataset": told, "images": plain, "picked": shown_on}

    return await queue.do(f"responses {name} {dataset}", work)


@router.get("/images/{key}.png", **_PNG)
async def image(
    key: str,
    registry: Catalogue,
    queue: Waiting,
    uploads: Uploaded,
    _: Reader,
    side: Annotated[int, Query(ge=16, le=512)] = 128,
) -> Response:
    """An image of a dataset, or one that was uploaded, by the sha256 of its file: small."""
    _check_sha(key)

    def work() -> bytes:
        return _thumbnail(registry, uploads, key, side)

    data = await run_in_threadpool(pictures.get, registry.home, _thumbnail_key(key, side))
    if data is None:
        data = await queue.do(f"image {key} {side}", work)
    return Response(data, media_type="image/png", headers=KEPT)


def _thumbnail_key(key: str, side: int) -> str:
    return content_id("thumbnail", [1, key, side])


def _thumbnail(registry: Registry, uploads: Uploads, key: str, side: int) -> bytes:
    from pathlib import Path

    from flows.pictures import drawing
    from loco.errors import UnknownName
    from loco.folders import open_image

    sent = uploads.get(key)
    if sent is not None:
        return drawing.png(drawing.tile(sent.pixels, side))
    places = registry.places(key)
    if not places:
        raise UnknownName(f"image {key[:12]} is in no dataset")
    _, root, name = places[0]
    data = drawing.png(drawing.tile(open_image(Path(root), name, key).pixels, side))
    pictures.put(registry.home, _thumbnail_key(key, side), data)
    return data


def _check_sha(key: str) -> None:
    if len(key) != 64 or any(letter not in "0123456789abcdef" for letter in key):
        raise InputError("image: expected the sha256 of a file, 64 characters of 0-9 and a-f")


@router.post("/uploads", status_code=201)
async def upload(
    request: Request,
    queue: Waiting,
    uploads: Uploaded,
    _: Annotated[Caller, Depends(needs("read"))],
    x_file_name: Annotated[str, Header(max_length=200)] = "upload",
    body: Annotated[bytes, Body(media_type="application/octet-stream")] = b"",
) -> dict[str, Any]:
    """Take an image file, as it is, to try directions on; it is kept in memory for a while and never on the disk."""
    name = printable(x_file_name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1])[:200]
    kept = await queue.do(f"upload {bytes_id(body)}", partial(uploads.take, body, name))
    height, width = kept.pixels.shape[:2]
    return {"id": kept.id, "name": kept.name, "width": width, "height": height}


def _chosen(registry: Registry, names: list[str]) -> list[Direction]:
    if not 1 <= len(names) <= TOGETHER:
        raise InputError(f"directions: expected 1 to {TOGETHER}, found {len(names)}")
    return [registry.direction(one) for one in names]


def _shown_on(registry: Registry, uploads: Uploads, one: Direction, key: str) -> Any:
    """The image of that sha256 as the direction's model sees it."""
    from flows.pictures.edits import of_pixels
    from flows.pictures.edits import shown as seen
    from flows.register import model_for

    model, sent = model_for(registry, one), uploads.get(key)
    return seen(registry, model, key) if sent is None else of_pixels(model, sent.id, sent.name, sent.pixels)


@router.get("/previews")
async def preview(
    registry: Catalogue,
    queue: Waiting,
    uploads: Uploaded,
    _: Reader,
    image: Sha,
    direction: Annotated[list[str], Query(min_length=1, max_length=TOGETHER)],
) -> dict[str, Any]:
    """An image and what one unit of each direction's strength adds to it, first order: enough to draw any mixture.

    `image` is uint8 [height, width, 3]; each `response` is int16 [height, width, 3], times its `scale` in the same
    units; both in base64, little endian. What is drawn is clip(image + sum of strength * scale * response).
    """

    def work() -> dict[str, Any]:
        import numpy as np

        from flows.pictures import drawing
        from flows.pictures.edits import kept_responses

        several = _chosen(registry, direction)
        seen = _shown_on(registry, uploads, several[0], image)
        found = kept_responses(registry, seen, several)
        told = shown(registry, several)
        parts = []
        for change, facts in zip(found, told, strict=True):
            values = change.transpose(1, 2, 0).astype(np.float64) * 127.5
            scale = max(float(np.abs(values).max()), 1e-9) / 32767
            data = np.round(values / scale).astype("<i2").tobytes()
            parts.append(
                {
                    "direction": facts,
                    "strength": facts["strength_shown"],
                    "scale": scale,
                    "response": base64.b64encode(data).decode(),
                }
            )
        pixels = drawing.pixels_of(seen.x)
        return {
            "name": seen.name,
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "image": base64.b64encode(pixels.tobytes()).decode(),
            "parts": parts,
        }

    return await queue.do(f"preview {image} {direction}", work, urgent=True)


@router.get("/render.png", **_PNG)
async def render(
    registry: Catalogue,
    queue: Waiting,
    uploads: Uploaded,
    _: Reader,
    image: Sha,
    mix: Annotated[list[str], Query(min_length=1, max_length=TOGETHER, description="ID:STRENGTH")],
    steps: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Response:
    """An image with directions added, by the whole way down, at the model's size: what `loco apply` makes of it."""

    def work() -> bytes:
        from flows.pictures import drawing
        from flows.pictures.edits import edited

        pairs = [_pair(one) for one in mix]
        several = _chosen(registry, [name for name, _ in pairs])
        mixture = [(one, strength) for one, (_, strength) in zip(several, pairs, strict=True)]
        seen = _shown_on(registry, uploads, several[0], image)
        return drawing.png(drawing.pixels_of(seen.x + edited(registry, seen, [mixture], steps)[0]))

    data = await queue.do(f"render {image} {mix} {steps}", work, urgent=True)
    return Response(data, media_type="image/png", headers=KEPT)


def _pair(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition(":")
    try:
        strength = float(number)
    except ValueError as error:
        raise InputError(f"mix: expected ID:STRENGTH, found {text[:80]!r}") from error
    check("strength", strength, "mix")
    return name, strength
