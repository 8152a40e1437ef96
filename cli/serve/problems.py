"""Errors as `application/problem+json` (RFC 9457): what was refused, and what to do, never a traceback."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from loco.errors import (
    ImageError,
    InputError,
    LocoError,
    ModelError,
    RegistryBusy,
    RoiError,
    ServerError,
    UnknownName,
)
from loco.outside import printable

_STATUSES: tuple[tuple[type[LocoError], int], ...] = (
    (UnknownName, 404),
    (InputError, 400),
    (ImageError, 422),
    (RoiError, 422),
    (ModelError, 409),
    (RegistryBusy, 503),
    (ServerError, 503),
    (LocoError, 500),
)
"""Of the first that an error is one of."""


class Refused(HTTPException):
    """A request that is answered with a status and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)


def problem(status: int, detail: str, kind: str = "about:blank", **more: Any) -> bytes:
    """The body of such an answer."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    told = {"type": kind, "title": title, "status": status, "detail": printable(detail[:4000]), **more}
    return json.dumps(told).encode()


def answer(status: int, detail: str, kind: str = "about:blank", **more: Any) -> Response:
    """The whole answer."""
    headers = {"www-authenticate": 'Bearer realm="loco"'} if status == 401 else {}
    if status == 503:
        headers["retry-after"] = "2"
    return Response(problem(status, detail, kind, **more), status, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of the application so."""
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        LocoError: lambda _, error: answer(
            next(status for kind, status in _STATUSES if isinstance(error, kind)),
            str(error),
            f"urn:loco:{type(error).__name__}",
        ),
        HTTPException: lambda _, error: answer(error.status_code, str(error.detail)),
        RequestValidationError: _invalid,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _invalid(_: Request, error: RequestValidationError) -> Response:
    """What does not fit, by place; what was sent is not sent back."""
    found = [
        {"where": ".".join(map(str, one["loc"]))[:200], "what": str(one["msg"])[:300]}
        for one in error.errors()[:20]
    ]
    told = "; ".join(f"{one['where']}: {one['what']}" for one in found[:3])
    return answer(422, told or "the request does not fit", errors=found)
