"""Credentials in URLs never become parameters: Prefect keeps those in its database and shows them on its pages.

A flow is given URLs without them. In the process that began it they are remembered; a scheduled run's process finds
the catalogue's in `LOCO_REGISTRY`, which its worker was started with.
"""

import json
import os
from typing import Any, TypeVar

from loco.urls import bare

_T = TypeVar("_T")

_whole: dict[str, Any] = {}
"""What was told without credentials -> what it is with them."""


def public(value: _T) -> _T:
    """Plain data without the credentials of the URLs in it; `whole` gives them back, in this process."""
    told: _T = _public(value)
    if told == value:
        _whole.pop(_key(value), None)
    else:
        _whole[_key(told)] = value
    return told


def whole(value: _T) -> _T:
    """The value that was told as this: with the credentials that this process knows, or else as it is."""
    found = _whole.get(_key(value))
    if found is not None:
        known: _T = found
        return known
    given = os.environ.get("LOCO_REGISTRY")
    if isinstance(value, str) and given and _public(given) == value:
        return given  # type: ignore[return-value]
    return value


def has_credentials(value: Any) -> bool:
    """Whether a URL in this plain data holds some."""
    return bool(_public(value) != value)


def _public(value: Any) -> Any:
    match value:
        case str():
            return bare(value)
        case dict():
            return {name: _public(item) for name, item in value.items()}
        case list() | tuple():
            return type(value)(_public(item) for item in value)
    return value


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
