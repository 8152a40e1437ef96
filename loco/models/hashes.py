"""Hashes of weight files, remembered by path, size, time and inode, so that gigabytes are read once. No torch.

The memory is a cache: a file that was changed has another time, and one that cannot be read is read again. It lies in
the user's cache folder (`LOCO_HASHES` names another), because weights are shared by homes.
"""

import contextlib
import json
import os
import re
import time
from pathlib import Path

from loco.errors import StorageError
from loco.files import write_atomic
from loco.ids import bytes_id, file_id
from loco.outside import regular

LEAST = 1 << 20
"""Bytes of a file that is worth remembering; smaller ones are read in no time."""

YOUNG = 2.0
"""Seconds after its last change during which a file may change again without another time."""


def hash_of(path: Path) -> str:
    """sha256 of the file's bytes, as `loco.ids.file_id`; from memory where the file is as it was."""
    with regular(path) as file:
        facts = os.fstat(file.fileno())
    if facts.st_size < LEAST or time.time() - facts.st_mtime < YOUNG:
        return file_id(path)
    key = [
        str(path.resolve()),
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        facts.st_ino,
        facts.st_dev,
    ]
    note = memory() / f"{bytes_id(json.dumps(key).encode())}.json"
    known = _noted(note, key)
    if known is not None:
        return known
    found = file_id(path)
    again = path.stat()
    if (again.st_size, again.st_mtime_ns, again.st_ctime_ns) == tuple(key[k] for k in (1, 2, 3)):
        with contextlib.suppress(OSError, StorageError):  # it is only a memory
            memory().mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(note, json.dumps({"file": key, "sha256": found}).encode())
    return found


def memory() -> Path:
    """Where the notes lie."""
    named = os.environ.get("LOCO_HASHES")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loco" / "hashes"


def _noted(note: Path, key: list[object]) -> str | None:
    try:
        with regular(note) as file:
            told = json.loads(file.read(1 << 16))
        sound = told["file"] == key and bool(re.fullmatch(r"[0-9a-f]{64}", told["sha256"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return str(told["sha256"]) if sound else None
