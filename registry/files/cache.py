"""Arrays that are costly to compute and cheap to lose: HOME/cache/ab/<id>.safetensors, bounded, verified when read.

An entry is one array under the id of how it was made. What is damaged, too much or in the way of another process is
simply not there: nothing but time depends on the cache, and its folder may be deleted at any moment.
"""

import contextlib
import hashlib
import shutil
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from loco.errors import StorageError
from loco.files import sweep, write_atomic
from loco.ids import check_id
from loco.outside import regular_bytes
from registry.files import checked
from registry.home import Home

LIMIT = 4 * 2**30
"""Bytes that the cache may take, unless told otherwise."""

FORMAT = 1
"""Version of an entry's layout; a later one is written under `format` in its metadata."""

SPARE = 2**30
"""Bytes of the disk that the cache leaves to what cannot be lost."""

_ROOM = 0.8
"""Down to this fraction of the limit is cleared when it is reached."""


class Cache:
    """The cache of one home, for any number of threads; nothing is created before something is put in.

    When it is full, the entries used longest ago make room, but never one that was used since this object was made: a
    run over more images than the cache holds would otherwise push out each entry just before it comes by again.
    """

    def __init__(self, home: Home, limit: int = LIMIT) -> None:
        """`limit` is in bytes; 0 turns the cache off."""
        self._root = home.root / "cache"
        self._limit = limit
        self._since = time.time() - 1  # files' times come from a coarser clock
        self._lock = threading.Lock()
        self._size: int | None = None
        self._full = limit <= 0

    def get(self, key: str) -> NDArray[np.generic] | None:
        """The array under that id, or None; a damaged entry is deleted, one of a newer program stays."""
        if self._limit <= 0:
            return None
        path = self._path(key)
        try:
            data = regular_bytes(path)
        except OSError:
            return None
        try:
            array = _decode(data, key)
        except checked.Newer:
            return None
        with contextlib.suppress(OSError):
            if array is None:
                path.unlink()
            else:
                path.touch()
        return array

    def put(self, key: str, array: NDArray[np.generic]) -> None:
        """Keep the array, if there is room; a disk that does not take it is no error.

        An array that is longer than the one that is there takes its place: it has what that has, and more.
        """
        path = self._path(key)
        data = _encode(key, array)
        there = _size_of(path)
        if 0 < there < len(data) and self.get(key) is None and path.exists():
            return  # a newer program's
        with self._lock:
            if self._full or there >= len(data) or not self._make_room(len(data) - there):
                return
            self._size = (self._size or 0) + len(data) - there
        try:
            write_atomic(path, data, settle=False)  # what a power failure tears is noticed when it is read
        except StorageError:
            self._full = True

    def _path(self, key: str) -> Path:
        return self._root / check_id(key, "cache entry")[:2] / f"{key}.safetensors"

    def _make_room(self, more: int) -> bool:
        """Whether `more` bytes fit, after clearing what is older than this object."""
        if self._size is None:
            sweep(self._root)
            self._size = sum(size for _, size, _ in self._entries())
        if self._left() < SPARE + more:
            self._full = True
            return False
        if self._size + more <= self._limit:
            return True
        for used, size, path in sorted(self._entries()):
            if used >= self._since or self._size + more <= _ROOM * self._limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                self._size -= size
        self._full = self._size + more > self._limit
        return not self._full

    def _left(self) -> int:
        """Bytes that are free where the cache lies."""
        with contextlib.suppress(OSError):
            self._root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self._root).free
        return 0

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Last use, size and path of each entry."""
        found = []
        for path in self._root.glob("*/*.safetensors"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found


def _size_of(path: Path) -> int:
    """Bytes of the file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _encode(key: str, array: NDArray[np.generic]) -> bytes:
    held = np.ascontiguousarray(array)
    data: bytes = save({"array": held}, {"id": key, "sha256": hashlib.sha256(held.data).hexdigest()})
    return data


def _decode(data: bytes, key: str) -> NDArray[np.generic] | None:
    """The array of a file's bytes, or None where they are not what was put there under that id.

    Raises `Newer` for what a newer program put there.
    """
    try:
        metadata = checked.plain(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        checked.not_newer(int(metadata.get("format", 1)), FORMAT)
        array: NDArray[np.generic] = load(data)["array"]
    except checked.Newer:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = metadata.get("id") == key and metadata.get("sha256") == hashlib.sha256(array.data).hexdigest()
    return array if whole else None
