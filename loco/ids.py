"""Identity: canonical JSON and sha256.

An id is the hash of *how a thing was made* (recipe, inputs, weights); a checksum is the hash of its bytes.
Two settings never share an id, and a known id means no work.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.outside import regular

ID_LENGTH = 32
"""Hexadecimal characters of an id: 128 bits of a sha256."""

SHORT = 12
"""Characters that people are shown; any unique prefix of at least `MIN_PREFIX` is accepted back."""

MIN_PREFIX = 6


def _plain(value: Any) -> Any:
    """Reduce dataclasses, mappings, sequences and numbers to JSON's own types, refusing all else."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: _plain(getattr(value, one.name))
            for one in fields(value)
            # A knob that came later is not in the id of what does not use it: older ids stay what they were.
            if not (one.metadata.get("later") and getattr(value, one.name) == one.default)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"an id takes finite numbers only, found {value!r}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an id takes plain data only, found {type(value).__name__}")


def canonical(value: Any) -> str:
    """Canonical JSON text of plain data or a dataclass: sorted keys, no spaces, finite numbers.

    Raises `TypeError` for anything that is not plain data and `ValueError` for NaN or infinity.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_id(kind: str, value: Any) -> str:
    """Id of `value` among things of `kind`: 32 hex characters of the sha256 of its canonical form."""
    text = f"{kind}\n{canonical(value)}"
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def bytes_id(data: bytes) -> str:
    """Checksum of bytes: the full sha256, 64 hex characters."""
    return hashlib.sha256(data).hexdigest()


def file_id(path: Path) -> str:
    """Checksum of a file's bytes, read in blocks: the full sha256, 64 hex characters.

    Raises `OSError`, at once for what is no regular file.
    """
    with regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_id(value: str) -> bool:
    """Whether `value` is an id: 32 of 0-9 and a-f, and so safe in a path and in a statement."""
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", value) is not None


def check_id(value: str, what: str) -> str:
    """`value` if it is an id; raises `InputError` otherwise."""
    if not is_id(value):
        raise InputError(f"{what}: an id is {ID_LENGTH} characters of 0-9 and a-f, found {value[:80]!r}")
    return value
