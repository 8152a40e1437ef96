"""Who may speak to the home's Prefect server: programs that name this machine, and pages that it served itself.

Prefect asks for the secret (`access`). This stands in front of it and keeps out web pages: one of another origin, and
one whose name was made to point at this machine.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_LOOPBACK = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
"""Any port: a tunnel may lead here from another one."""

_POLICY_VIOLATION = 1008
_ALONE = ((b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'"))


def refusal(headers: Headers) -> str | None:
    """Why a request with these headers (names in lower case) is refused; None when it may pass."""
    headers = list(headers)
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
        return "the host must be 127.0.0.1 or localhost"
    origins = [value for name, value in headers if name == b"origin"]
    if any(origin.lower() != b"http://" + hosts[0].lower() for origin in origins):
        return "requests of other origins are refused"
    return None


def guarded(app: Application) -> Application:
    """The application with the guard in front, for requests and for websockets; no page may frame its pages."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        cause = refusal(scope["headers"])
        if cause is None:
            await app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": cause})
        else:
            body = json.dumps({"detail": cause}).encode()
            described = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": described})
            await send({"type": "http.response.body", "body": body})

    return guard


def _unframed(send: Send) -> Send:
    async def sends(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_ALONE]}
        await send(message)

    return sends
