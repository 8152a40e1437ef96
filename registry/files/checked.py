"""One validator for every file of the home: from bytes that may come from anywhere to what they describe.

JSON is read within bounds (size, depth, length of texts, size of numbers; no NaN, no NUL, nothing that is no UTF-8).
Its types are then compared, strictly, with those of a frozen dataclass by pydantic. What does not fit is refused whole.

Every kind of file may say its `format`, a whole number; one that says none is of format 1. A program that changes a
kind's layout raises the number, so that an older one tells a newer file from a damaged one: it is left as it is.
"""

import contextlib
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from loco.errors import Damaged, InputError, LocoError, NewerFormat
from loco.ids import canonical

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST = 1 << 30
"""Bytes of the largest JSON file that is read: a dataset of some millions of images."""

LONGEST = 1 << 26
"""Bytes of the longest line that is read."""

_SEAL = "sha256"
"""Name of the field with the checksum of all others, as canonical JSON."""

_TEXT = 1 << 18
_FIELD = 1 << 13
_DEPTH = 32
_WHOLE = 2**63
_COLUMN = 2**31
"""Bounds of whole numbers: of any in plain data, and of one that is a column of the catalogue."""

_Kind = TypeVar("_Kind")


class Unfit(ValueError):
    """Why bytes do not describe what they should, in words for the caller's message."""


class Newer(Unfit):
    """The same for what a newer program wrote, as far as can be told: by its `format`, or a field unknown here."""


def plain(data: bytes, most: int = LARGEST) -> Any:
    """The plain data in JSON text; raises `Unfit` for what is none, or beyond the bounds."""
    if len(data) > most:
        raise Unfit(f"it has {len(data)} bytes, expected at most {most}")
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_refuse)
        _bound(found)
    except Unfit:
        raise
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is no JSON text: {str(error)[:200]}") from error
    return found


def parse(kind: type[_Kind], data: bytes, *, reads: int = 1, most: int = LARGEST) -> _Kind:
    """The `kind` (a frozen dataclass) that JSON text describes, all of its types as declared.

    Raises `Newer` for a format beyond `reads` or fields that the dataclass does not have, `Unfit` for all else, also
    for content that is not what its checksum says. Files of earlier programs have none.
    """
    value = plain(data, most)
    if not isinstance(value, dict) or _SEAL not in value:
        return typed(kind, value, data, reads=reads)
    found = typed(kind, {name: one for name, one in value.items() if name != _SEAL}, reads=reads)
    unsealed(value)
    return found


def unsealed(value: Any) -> dict[str, Any]:
    """The content of plain data with a checksum or without; raises `Unfit` where it is not what that says."""
    if not isinstance(value, dict):
        raise Unfit(f"expected an object, found {type(value).__name__}")
    content = {name: one for name, one in value.items() if name != _SEAL}
    if value.get(_SEAL, "") not in ("", _digest(content)):
        raise Unfit("its content is not what its checksum says")
    return content


def sealed(value: Mapping[str, Any]) -> bytes:
    """JSON text of plain data with its checksum, as `parse` verifies it; raises `TypeError` or `ValueError`."""
    told = json.loads(json.dumps(value, allow_nan=False))
    whole = told | {_SEAL: _digest(told)}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def is_sealed(data: bytes) -> bool:
    """Whether a file's bytes have a checksum in them."""
    return f'"{_SEAL}":'.encode() in data


def _digest(value: Mapping[str, Any]) -> str:
    # A format that may be said is not part of what is described.
    told = {name: one for name, one in value.items() if name != "format"}
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def typed(kind: type[_Kind], value: Any, data: bytes | None = None, *, reads: int = 1) -> _Kind:
    """The same from plain data; `data` is their text, where the caller has it."""
    if not isinstance(value, dict):
        raise Unfit(f"expected an object, found {type(value).__name__}")
    version = value.get("format", 1)
    not_newer(version, reads)
    if "format" in value or data is None:
        data = json.dumps({key: item for key, item in value.items() if key != "format"}).encode()
    from pydantic import ValidationError

    try:
        (found,) = _adapter(kind).validate_json(b"[" + data + b"]")  # type: ignore[arg-type]
    except ValidationError as error:
        raise _words(error) from error
    except LocoError as error:  # of a dataclass that refuses values itself
        raise Unfit(str(error)) from error
    _check_columns(found)
    return cast(_Kind, found)


def not_newer(version: Any, reads: int) -> None:
    """Raise `Newer` for a format beyond what is read here, `Unfit` for what is no format."""
    if type(version) is not int or version < 1:
        raise Unfit(f"expected a format of 1 or more, found {version!r:.80}")
    if version > reads:
        raise Newer(f"its format is {version}, this program reads up to format {reads}")


@contextlib.contextmanager
def explained(what: str, path: Path | str, remedy: str) -> Iterator[None]:
    """Turn `Unfit` into a `Damaged` that says what it is, where, why and what to do; `Newer` into a `NewerFormat`."""
    try:
        yield
    except Newer as error:
        raise newer(what, path, str(error)) from error
    except Unfit as error:
        raise Damaged(f"{what} {path} is damaged: {error}; {remedy}") from error


def newer(what: str, path: Path | str, why: str) -> NewerFormat:
    """The error for a file of a newer program."""
    return NewerFormat(
        f"{what} {path} was written by a newer program: {why}; use that program or a newer one here, and leave the "
        f"file as it is"
    )


def kept(path: Path, read: Callable[[Path], object]) -> None:
    """Raise `NewerFormat` where `path`, about to be replaced, is a newer program's by `read`; all else may go."""
    with contextlib.suppress(Damaged, InputError):
        if path.is_file():
            read(path)


@functools.lru_cache(maxsize=64)
def _adapter(kind: type) -> "TypeAdapter[tuple[Any]]":
    """The validator of a dataclass, in a tuple because a plain dataclass takes its configuration from outside."""
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, str_max_length=_TEXT)
    return TypeAdapter(tuple[kind], config=config)  # type: ignore[valid-type, arg-type]


def _words(error: Any) -> Unfit:
    """The first trouble that pydantic names, as ours; an unknown field is told only when nothing else is wrong."""
    found = error.errors(include_url=False)
    unknown = [one for one in found if one["type"] == "unexpected_keyword_argument"]
    first = next((one for one in found if one not in unknown), found[0])
    where = ".".join(str(part) for part in first["loc"][1:])
    if first in unknown:
        return Newer(f"it has the field {where[:80]!r}, which this program does not know")
    if first["type"] == "missing":
        return Unfit(f"its {where} is missing")
    told = str(first["msg"])[:1].lower() + str(first["msg"])[1:]
    return Unfit(f"its {where or 'content'}: {told[:200]}, found {first['input']!r:.80}")


def _refuse(text: str) -> None:
    raise Unfit(f"expected finite numbers, found {text}")


def _bound(value: Any) -> None:
    """Raise `Unfit` unless plain data is within the bounds, however deep it is."""
    level, depth = [value], 0
    while level:
        if depth > _DEPTH:
            raise Unfit(f"it is nested more than {_DEPTH} deep")
        below: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is str:
                _check_text(one)
            elif kind is dict:
                for key in one:
                    _check_text(key)
                below.extend(one.values())
            elif kind is list:
                below.extend(one)
            elif kind is int and not -_WHOLE <= one < _WHOLE:
                raise Unfit(f"expected whole numbers of up to 63 bits, found one of {one.bit_length()}")
            elif kind is float and not math.isfinite(one):
                raise Unfit(f"expected finite numbers, found {one}")
        level, depth = below, depth + 1


_BAD = re.compile("[\0\ud800-\udfff]")


def _check_text(text: str) -> None:
    if len(text) > _TEXT:
        raise Unfit(f"expected texts of up to {_TEXT} characters, found one of {len(text)}")
    if _BAD.search(text):
        raise Unfit(f"it holds a text with a NUL or half a character: {text[:80]!r}")


def _check_columns(record: Any) -> None:
    """Raise `Unfit` unless the numbers and texts of a record, and of those within it, fit into columns."""
    whole, texts, nested = _columns(type(record))  # type: ignore[arg-type]
    for name in whole:
        value = getattr(record, name)
        if value is not None and not -_COLUMN <= value < _COLUMN:
            raise Unfit(f"its {name}: expected a whole number of up to 31 bits, found {value}")
    for name in texts:
        value = getattr(record, name)
        if value is not None and len(value) > _FIELD:
            raise Unfit(f"its {name}: expected up to {_FIELD} characters, found {len(value)}")
    for name in nested:
        value = getattr(record, name)
        for one in value if isinstance(value, tuple) else (value,):
            if is_dataclass(one):
                _check_columns(one)


@functools.lru_cache(maxsize=64)
def _columns(kind: type) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of a dataclass' fields that are whole numbers, texts, and neither."""
    hints = get_type_hints(kind)
    names = [one.name for one in fields(kind)]
    whole = tuple(name for name in names if hints[name] in (int, int | None))
    texts = tuple(name for name in names if hints[name] in (str, str | None))
    simple = {*whole, *texts} | {name for name in names if hints[name] in (float, float | None, bool)}
    return whole, texts, tuple(name for name in names if name not in simple)
