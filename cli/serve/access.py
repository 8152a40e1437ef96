"""Who may pass: the guard in front of the page and the API, sessions of browsers, and what a caller may do.

Programs send `Authorization: Bearer TOKEN`. A page trades its token for a session: a cookie that scripts cannot read
and that no other site can make a browser send, and a second secret that the page sends along with every change. On the
loopback address looking needs neither; every change does.
"""

import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request

from cli.serve.problems import Refused, problem
from cli.serve.tokens import Token, allows, hashed, matching, read_tokens
from registry.home import Home

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

SESSION_SECONDS = 12 * 3600.0
SESSIONS = 1000
"""Sessions at once; the oldest makes room."""

BODY_LIMIT = 256 * 1024
"""Bytes of a request's body, where nothing else is said."""

UPLOAD_LIMIT = 24 * 2**20
"""Bytes of an uploaded image."""

UPLOADS = "/api/v1/uploads"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Caller:
    """Who asks: a name for the history, a role, the token's hash; `by_cookie` where a browser sent it by itself."""

    name: str
    role: str
    sha256: str = ""
    by_cookie: bool = False
    csrf: str = ""


@dataclass
class Access:
    """The tokens and sessions of one server.

    Attributes:
        home: Where the tokens are kept.
        own: The token of this start, which is not kept.
        hosts: Names by which the server may be called, without port.
        open: Whether looking needs no token.
        url: The catalogue's, or None for the home's own.
    """

    home: Home
    own: Token
    hosts: frozenset[str]
    open: bool
    url: str | None = None
    _sessions: dict[str, tuple[Caller, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def by_token(self, token: str) -> Caller | None:
        """Who has that token."""
        found = matching(token, self._tokens()) if len(token) <= 200 else None
        return None if found is None else Caller(found.name, found.role, found.sha256)

    def _tokens(self) -> list[Token]:
        return [self.own, *read_tokens(self.home)]

    def begin(self, caller: Caller) -> tuple[str, Caller]:
        """A session for a page: what its cookie holds, and who it is from now on."""
        key = secrets.token_urlsafe(32)
        known = replace(caller, by_cookie=True, csrf=secrets.token_urlsafe(32))
        with self._lock:
            now = time.monotonic()
            self._sessions = {
                one: (who, until) for one, (who, until) in self._sessions.items() if until > now
            }
            while len(self._sessions) >= SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[hashed(key)] = (known, now + SESSION_SECONDS)
        return key, known

    def end(self, key: str) -> None:
        """Forget a session."""
        with self._lock:
            self._sessions.pop(hashed(key), None)

    def by_session(self, key: str) -> Caller | None:
        """Whose session it is, as long as its token counts; found by a hash: how long that takes tells nothing."""
        with self._lock:
            caller, until = self._sessions.get(hashed(key), (None, 0.0))
        if caller is None or until <= time.monotonic():
            return None
        return caller if any(one.sha256 == caller.sha256 for one in self._tokens()) else None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cookie_name(request: Request) -> str:
    """Of the session: cookies know no ports, so that of another server on this machine is another one."""
    return f"loco_session_{request.url.port or 80}"


def caller_of(request: Request) -> Caller | None:
    """Who asks, or None; raises `Refused` for a token or session that is none."""
    access: Access = request.app.state.access
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        found = access.by_token(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused(401, "the token is none of this server's; `loco token add NAME` makes one")
        return found
    key = request.cookies.get(cookie_name(request))
    return None if key is None else access.by_session(key)


def needs(role: str) -> Callable[[Request], Caller]:
    """A dependency: the caller, who has that role; else the request is refused."""

    def check(request: Request) -> Caller:
        access: Access = request.app.state.access
        found = caller_of(request)
        changes = request.method not in SAFE
        if found is None:
            if access.open and not changes and role == "read":
                return Caller("anyone", "read")
            raise Refused(
                401,
                "this needs a token: send `Authorization: Bearer TOKEN`, or open the address that "
                "`loco serve` printed; `loco token add NAME` makes one",
            )
        if found.by_cookie and changes:
            given = request.headers.get("x-loco-csrf", "")
            if not hmac.compare_digest(given.encode(), found.csrf.encode()):
                raise Refused(
                    403, "the request does not come from the page itself: its X-Loco-CSRF is missing"
                )
        if not allows(found.role, role):
            raise Refused(403, f"this needs the role {role}; token {found.name!r} has {found.role}")
        return found

    return check


def refusal(scope: Scope, hosts: Iterable[str]) -> str | None:
    """Why a request is refused whoever asks, or None: another host's name, another origin, another site's page."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    named = [value for name, value in headers if name == "host"]
    found = _HOST.fullmatch(named[0]) if len(named) == 1 else None
    if found is None or found[1].lower() not in hosts:
        return "this server is not called so; `loco serve --name HOST` gives it a further name"
    mine = {f"http://{named[0].lower()}", f"https://{named[0].lower()}"}
    if any(value.lower() not in mine for name, value in headers if name == "origin"):
        return "requests of other origins are refused"
    sites = [value for name, value in headers if name == "sec-fetch-site"]
    modes = [value for name, value in headers if name == "sec-fetch-mode"]
    foreign = any(one in ("cross-site", "same-site") for one in sites)
    followed = modes == ["navigate"] and scope["method"] in SAFE and not scope["path"].startswith("/api/")
    return "requests of other sites are refused" if foreign and not followed else None


def guarded(app: Application, hosts: frozenset[str]) -> Application:
    """The application behind the guard: hosts, origins, sizes of bodies, and headers on every answer."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks anything else
        answers = _with_headers(send)
        cause = refusal(scope, hosts)
        if cause is not None:
            await _answer(answers, 403, cause)
            return
        limit = UPLOAD_LIMIT if scope["path"] == UPLOADS else BODY_LIMIT
        told = [value for name, value in scope["headers"] if name == b"content-length"]
        if told and (not told[0].isdigit() or len(told[0]) > 12 or int(told[0]) > limit):
            await _answer(answers, 413, f"a body of up to {limit} bytes is taken here")
            return
        await app(scope, _counted(receive, limit), answers)

    return guard


def _counted(receive: Receive, limit: int) -> Receive:
    """The same, up to so many bytes, whatever the headers said."""
    taken = 0

    async def receives() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > limit:
                raise Refused(413, f"a body of up to {limit} bytes is taken here")
        return message

    return receives


def _with_headers(send: Send) -> Send:
    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*headers, *_HEADERS]}
        await send(message)

    return sends


async def _answer(send: Send, status: int, detail: str) -> None:
    body = problem(status, detail)
    described = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})
