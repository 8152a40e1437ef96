"""The API's own: what it is, who asks, and the sessions of pages."""

from importlib import metadata
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cli.serve.access import Access, Caller, caller_of, cookie_name, needs
from cli.serve.problems import Refused

router = APIRouter(tags=["session"])


class Login(BaseModel):
    """A token that is traded for a session."""

    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=200)


def _told(caller: Caller | None, request: Request) -> dict[str, Any]:
    access: Access = request.app.state.access
    if caller is None:
        return {"name": None, "role": "read" if access.open else None, "csrf": None}
    return {"name": caller.name, "role": caller.role, "csrf": caller.csrf or None}


@router.get("/")
def about(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> dict[str, Any]:
    """Version, and how many of each there are."""
    counts = request.app.state.registry.summary()
    return {"version": metadata.version("loco-edit-service"), "role": caller.role, "counts": counts}


@router.get("/session")
def session(request: Request) -> dict[str, Any]:
    """Who asks, what they may do, and the secret that a page sends along with changes."""
    return _told(caller_of(request), request)


@router.post("/session")
def begin(login: Login, request: Request, response: Response) -> dict[str, Any]:
    """Trade a token for a session, which is a cookie."""
    access: Access = request.app.state.access
    found = access.by_token(login.token.strip())
    if found is None:
        raise Refused(401, "the token is none of this server's; `loco token add NAME` makes one")
    key, caller = access.begin(found)
    secure = request.url.scheme == "https"
    response.set_cookie(cookie_name(request), key, httponly=True, samesite="strict", secure=secure, path="/")
    return _told(caller, request)


@router.delete("/session")
def end(request: Request, response: Response, _: Annotated[Caller, Depends(needs("read"))]) -> dict[str, Any]:
    """Forget the session."""
    key = request.cookies.get(cookie_name(request))
    if key is not None:
        request.app.state.access.end(key)
    response.delete_cookie(cookie_name(request), httponly=True, samesite="strict", path="/")
    return {"name": None, "role": None, "csrf": None}
