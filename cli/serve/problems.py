"""Errors as `application/problem+json` (RFC 9457): what was refused, and what to do, never a traceback or a path."""

import json
import re
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


TYPE = "application/problem+json"

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What was refused, why, and what to do (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:loco:KIND, or about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What did not fit, by place",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}

_DOCUMENTED = {
    "4XX": "Refused: 400 and 422 what was asked does not fit, 401 no token of this server's, 403 not allowed by it, "
    "404 nothing of that name, 409 the model cannot do it, 413 too large",
    "5XX": "503 busy: ask again in a moment; 500 what is kept is damaged",
}

_FOLDERS = re.compile(r"(?<![\w:/.~])/(?:[^/\s'\"]+/)+")
"""The folders of an absolute path, which are nobody's who asks over a network."""


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
    return Response(problem(status, detail, kind, **more), status, headers, TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the application so."""
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        LocoError: lambda _, error: answer(
            next(status for kind, status in _STATUSES if isinstance(error, kind)),
            without_folders(str(error), str(app.state.registry.home.root)),
            f"urn:loco:{type(error).__name__}",
        ),
        HTTPException: _http,
        RequestValidationError: _invalid,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _http(_: Request, error: HTTPException) -> Response:
    """An error of the protocol, with what it has to tell: of a wrong method, those that are right."""
    found = answer(error.status_code, str(error.detail))
    found.headers.update(error.headers or {})
    return found


def without_folders(text: str, home: str) -> str:
    """The text with the names of files, and without where they lie."""
    return _FOLDERS.sub("", text.replace(f"{home}/", "/").replace(home, "HOME"))


def document(app: FastAPI) -> None:
    """Let the OpenAPI document tell of them, in place of the framework's own, for every operation."""
    of_framework = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = of_framework()
            told = {
                status: {
                    "description": text,
                    "content": {TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
                for status, text in _DOCUMENTED.items()
            }
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    operation["responses"] |= told
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas["Problem"] = SCHEMA
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _invalid(_: Request, error: RequestValidationError) -> Response:
    """What does not fit, by place; what was sent is not sent back."""
    found = [
        {"where": ".".join(map(str, one["loc"]))[:200], "what": str(one["msg"])[:300]}
        for one in error.errors()[:20]
    ]
    told = "; ".join(f"{one['where']}: {one['what']}" for one in found[:3])
    return answer(422, told or "the request does not fit", errors=found)
