"""A catalogue that somebody serves (`loco serve`), asked over HTTP: what lists and names directions works with it.

`--registry http://HOST:PORT` says where it is, `LOCO_TOKEN` who asks.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

import httpx

from loco.direction import Direction
from loco.errors import InputError, LocoError, RegistryBusy, RegistryError, UnknownName
from registry.alike.similar import Similar
from registry.records import DatasetRecord, Event, ModelRecord, RunRecord

TOKEN = "LOCO_TOKEN"
"""The environment's variable that holds the token: what stands on a command line, others can see."""

_PAGE = 200

_MOST_SIMILAR = 100

_Result = TypeVar("_Result")


def is_served(url: str | None) -> bool:
    """Whether a catalogue's URL is that of a server of ours."""
    return url is not None and url.lower().startswith(("http://", "https://"))


class Remote:
    """The part of a `Registry` that looks and names, over HTTP."""

    def __init__(self, url: str) -> None:
        """`url` is the server's address. Raises `InputError` for one that is none."""
        self._base = f"{url.rstrip('/')}/api/v1"
        self._headers = _authorization()
        try:
            httpx.URL(self._base)
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise InputError(
                f"registry: {error}; expected an address such as http://127.0.0.1:8321"
            ) from error
        self._beside: dict[str, dict[str, Any]] = {}

    def find(self, **filters: Any) -> list[Direction]:
        """As `Registry.find`."""
        left, asked = filters.pop("limit", None), _params(filters)
        found: list[Direction] = []
        while left is None or len(found) < left:
            size = _PAGE if left is None else min(_PAGE, left - len(found))
            items, cursor = self._get("/directions", {**asked, "limit": size}, self._page)
            found += items
            if cursor is None:
                break
            if not items or cursor == asked.get("cursor"):
                raise self._foreign("a page that leads to no other")
            asked["cursor"] = cursor
        return found

    def count(self, **filters: Any) -> int:
        """As `Registry.count`."""
        filters.pop("limit", None)
        asked = {**_params(filters), "limit": 1}
        return self._get("/directions", asked, lambda told: int(told["total"]))

    def beside(self, directions: Sequence[Direction]) -> dict[str, dict[str, Any]]:
        """As `Registry.beside`, of directions that were found here."""
        return {one.id: self._beside.get(one.id, {}) for one in directions}

    def labels(self) -> dict[str, list[str]]:
        """Labels and aliases of the directions that were found here."""
        return {key: list(told.get("labels", ())) for key, told in self._beside.items()}

    def direction(self, name: str) -> Direction:
        """As `Registry.direction`."""
        return self._get(f"/directions/{_quoted(name)}", {}, self._taken)

    def similar(
        self, target: str, *, roi: str | None = None, model: str | None = None, limit: int = 10
    ) -> list[Similar]:
        """As `Registry.similar`, of a direction by its name."""
        if limit > _MOST_SIMILAR:
            raise InputError(f"similar: a served catalogue tells at most {_MOST_SIMILAR}, found {limit}")
        return self._get(
            f"/directions/{_quoted(target)}/similar",
            {"limit": limit, **_some(roi=roi, model=model)},
            lambda told: [Similar(self._taken(one), float(one["cosine"]), target) for one in _several(told)],
        )

    def history(self, name: str | None = None) -> list[Event]:
        """As `Registry.history`, of one direction."""
        if name is None:
            raise InputError("the history of all directions is not served; name one")
        path = f"/directions/{_quoted(name)}/history"
        return self._get(path, {}, lambda told: [Event(**one) for one in _several(told)])

    def label(self, name: str, text: str, *, remove: bool = False, who: str | None = None) -> Event:
        """As `Registry.label`; who says it is told by the token."""
        return self._say("unlabel" if remove else "label", name, text)

    def alias(self, text: str, name: str, *, who: str | None = None) -> Event:
        """As `Registry.alias`."""
        return self._say("alias", name, text)

    def reject(self, name: str, reason: str = "", *, who: str | None = None) -> Event:
        """As `Registry.reject`."""
        return self._say("reject", name, reason)

    def restore(self, name: str, reason: str = "", *, who: str | None = None) -> Event:
        """As `Registry.restore`."""
        return self._say("restore", name, reason)

    def models(self) -> list[ModelRecord]:
        """As `Registry.models`."""
        return self._get(
            "/models",
            {},
            lambda told: [ModelRecord(**{**one, "shape": tuple(one["shape"])}) for one in _several(told)],
        )

    def datasets(self, *, pictured: bool = False) -> list[DatasetRecord]:
        """As `Registry.datasets`, without their images."""
        return self._get(
            "/datasets", {}, lambda told: [DatasetRecord(**{**one, "images": ()}) for one in _several(told)]
        )

    def image_counts(self) -> dict[str, int]:
        """As `Registry.image_counts`."""
        return self._get(
            "/datasets", {}, lambda told: {one["name"]: int(one["images"]) for one in _several(told)}
        )

    def evidence(self, name: str) -> dict[str, Any]:
        """All that the server knows of one direction, and what was said of its transfer."""

        def taken(told: Any) -> dict[str, Any]:
            self._taken(told)
            return dict(told)

        return self._get(f"/directions/{_quoted(name)}", {}, taken)

    def jobs(self, kind: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Runs as `registry.shapes.run` tells them, the latest first."""
        found: list[dict[str, Any]] = []
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            asked = {"start": len(found), "limit": size, **_some(kind=kind)}
            items, total = self._get(
                "/jobs", asked, lambda told: (list(map(_run, told["items"])), int(told["total"]))
            )
            found += items
            if not items or len(found) >= total:
                break
        return found

    def job(self, name: str) -> dict[str, Any]:
        """One run in full, with what failed."""
        return self._get(f"/jobs/{_quoted(name)}", {}, _run)

    def said(self, name: str, start: int) -> list[str]:
        """What a run said, from a line on."""
        path = f"/jobs/{_quoted(name)}/log"
        return self._get(path, {"start": start}, lambda told: list(map(str, told["lines"])))

    def cancel(self, name: str) -> str:
        """Stop a run; its id."""
        told = self._sent("POST", f"/jobs/{_quoted(name)}/cancel", {}, {})
        return self._read(told, lambda told: str(told["id"]))

    def __getattr__(self, name: str) -> NoReturn:
        raise InputError(
            f"a served catalogue does not do this ({name.replace('_', ' ')}); run the command where the home is, or "
            f"use the page"
        )

    def _page(self, told: Any) -> tuple[list[Direction], str | None]:
        return [self._taken(one) for one in told["items"]], told["cursor"]

    def _taken(self, told: Mapping[str, Any]) -> Direction:
        own = {one.name for one in fields(Direction)}
        self._beside[told["id"]] = {
            name: value for name, value in told.items() if name not in own and name not in _OF_THE_PAGE
        } | {"labels": told["labels"]}
        return Direction(
            **{name: value for name, value in told.items() if name in own} | {"shape": tuple(told["shape"])}
        )

    def _say(self, action: str, name: str, text: str) -> Event:
        told = self._sent("POST", "/events", {}, {"action": action, "ids": [name], "text": text})
        return self._read(told, lambda told: Event(**told[0]))

    def _get(self, path: str, params: Mapping[str, Any], take: Callable[[Any], _Result]) -> _Result:
        """What `take` makes of the answer; raises `RegistryError` for an answer that is none of this API's."""
        return self._read(self._sent("GET", path, params, None), take)

    def _read(self, told: Any, take: Callable[[Any], _Result]) -> _Result:
        try:
            return take(told)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._foreign(f"one of type {type(told).__name__} that lacks or has {error}") from error

    def _foreign(self, found: str) -> RegistryError:
        """The error for an answer that no `loco serve` of this version gives."""
        return RegistryError(
            f"{self._base}: expected an answer of the API of `loco serve`, found {found}; give the address that `loco "
            f"serve` of this version prints there"
        )

    def _sent(self, method: str, path: str, params: Mapping[str, Any], body: Any) -> Any:
        try:
            with httpx.Client(headers=self._headers, timeout=60.0, trust_env=False) as client:
                answer = client.request(method, f"{self._base}{path}", params=dict(params), json=body)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise RegistryError(
                f"{self._base}: {error or type(error).__name__}; `loco serve` there serves the catalogue"
            ) from error
        if answer.is_redirect:
            elsewhere = answer.headers.get("location", "nowhere")[:200]
            raise self._foreign(f"{answer.status_code}, which leads to {elsewhere!r}")
        if not answer.is_success:
            raise _refused(answer)
        try:
            return answer.json()
        except ValueError as error:
            kind = answer.headers.get("content-type", "no type")[:80]
            raise self._foreign(f"{len(answer.content)} bytes of {kind!r}") from error


_OF_THE_PAGE = frozenset({"labels", "short", "strength_shown", "rejected"})


def _authorization() -> dict[str, str]:
    """The header that says who asks; raises `InputError`, which never tells the token, for one that cannot be one."""
    token = os.environ.get(TOKEN, "").strip()  # files of variables end lines
    if not re.fullmatch(r"[!-~]*", token):
        raise InputError(
            f"{TOKEN}: expected a token as `loco token add` prints it, in printable ASCII without blanks; found "
            f"{len(token)} characters with others among them"
        )
    return {"authorization": f"Bearer {token}"} if token else {}


def _several(told: Any) -> list[Any]:
    """A list as it is told; raises `TypeError` for what is none."""
    if not isinstance(told, list):
        raise TypeError("no list")
    return told


def _run(told: Any) -> dict[str, Any]:
    """A run as it is told; raises `KeyError` where something is missing of one that is on record."""
    starting = told["status"] == "starting"
    needed = ("id", "kind") if starting else tuple(one.name for one in fields(RunRecord))
    return {**told, **{name: told[name] for name in needed}}


def _refused(answer: httpx.Response) -> LocoError:
    """The error that an answer tells of."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{answer.status_code} {answer.reason_phrase}"
    if answer.status_code in (401, 403):
        return InputError(f"{detail}; the token is taken from {TOKEN}")
    kinds: dict[int, type[LocoError]] = {
        404: UnknownName,
        400: InputError,
        422: InputError,
        503: RegistryBusy,
    }
    return kinds.get(answer.status_code, RegistryError)(detail)


def _params(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as a URL has them."""
    found = {name: value for name, value in filters.items() if value is not None}
    if isinstance(found.get("t"), tuple):
        found["t"] = "..".join(map(repr, found["t"]))
    return found


def _some(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="@")
