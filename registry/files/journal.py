"""Files of JSON lines that are only appended to, by any number of processes: all of an append is there, or none of it.

An append is one write of whole lines under a lock, so a crash can tear only the end, and what was torn was never
reported as done: the next writer cuts it off, and no reader sees it.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from loco.files import make_folder, storage_errors

_BLOCK = 65536


def append(path: Path, data: bytes, *, settle: bool = True) -> None:
    """Append whole lines; `settle` waits until the disk has them. Raises `StorageError`, and nothing is there then."""
    with storage_errors(path):
        make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            add(handle, data, settle=settle)
        finally:
            os.close(handle)


def add(handle: int, data: bytes, *, settle: bool) -> None:
    """The same to an open file whose lock the caller holds; raises `OSError`."""
    end = _whole(handle)
    os.ftruncate(handle, end)
    try:
        if os.write(handle, data) != len(data):
            raise OSError(f"the disk took only a part of {len(data)} bytes")
        if settle:
            os.fsync(handle)
    except OSError:
        os.ftruncate(handle, end)
        raise


def whole(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, each with its end; raises `OSError` as `open` does."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _whole(handle: int) -> int:
    """Length of the file up to its last whole line."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
