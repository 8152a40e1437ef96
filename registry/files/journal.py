"""Files of JSON lines that are only appended to, by any number of processes: all of an append is there, or none of it.

An append is one write of whole lines under a lock, so a crash can tear only the end, and what was torn was never
reported as done: the next writer cuts it off, and no reader sees it. A whole line that is none of its journal's costs
none of the others: readers pass over it, `verify` names it by its number.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from loco.files import reading_errors, storage_errors
from loco.ids import canonical
from loco.outside import regular
from registry.files import checked

_BLOCK = 65536

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Line(Generic[_Item]):
    """A whole line of a journal.

    Attributes:
        number: Its place, from 1, counted from where reading began.
        end: The byte of the file at which it ends.
        item: What it says, or None where that is nothing.
        why: Why it says nothing, in words.
        newer: Whether a newer program wrote it, as far as can be told.
    """

    number: int
    end: int
    item: _Item | None
    why: str = ""
    newer: bool = False


class Journal(Generic[_Item]):
    """One file of lines of one kind; nothing is created before something is appended."""

    def __init__(self, path: Path, parse: Callable[[bytes], _Item]) -> None:
        """`parse` gives what a line says; it raises `checked.Unfit` for a line that is none."""
        self.path = path
        self._parse = parse

    def append(self, *items: _Item, settle: bool = True) -> None:
        """Append items, dataclasses or plain data, in one write; raises `StorageError`, and nothing is there then."""
        append(self.path, text(items), settle=settle)

    def lines(self, start: int = 0) -> Iterator[Line[_Item]]:
        """All whole lines from byte `start` on, those that say nothing too; raises `StorageError`."""
        at = start
        with reading_errors(self.path):
            try:
                for number, (length, line) in enumerate(whole(self.path, start), start=1):
                    at += length
                    yield self._line(number, at, line)
            except (FileNotFoundError, NotADirectoryError):
                return

    def read(self, start: int = 0) -> Iterator[_Item]:
        """What the lines from byte `start` on say, without those that say nothing; raises `StorageError`."""
        for line in self.lines(start):
            if line.item is not None:
                yield line.item

    def bad(self) -> list[Line[_Item]]:
        """The lines that say nothing here; raises `StorageError`."""
        return [line for line in self.lines() if line.item is None]

    def _line(self, number: int, end: int, line: bytes | None) -> Line[_Item]:
        if line is None:
            return Line(number, end, None, f"it is longer than {checked.LONGEST} bytes")
        try:
            return Line(number, end, self._parse(line))
        except checked.Unfit as error:
            return Line(number, end, None, str(error), isinstance(error, checked.Newer))


def text(items: Iterable[object]) -> bytes:
    """The lines of items, dataclasses or plain data; raises `TypeError` or `ValueError` for what is neither."""
    return b"".join(canonical(one).encode() + b"\n" for one in items)


def append(path: Path, data: bytes, *, settle: bool = True) -> None:
    """Append whole lines; `settle` waits until the disk has them. Raises `StorageError`, and nothing is there then."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
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


def whole(path: Path, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """The whole lines of a file from byte `start` on, each after its length; raises `OSError` as `open` does.

    A line longer than any that is written here is not held: None comes in its place.
    """
    with regular(path) as file:
        file.seek(start)
        while line := file.readline(checked.LONGEST):
            length, long = len(line), not line.endswith(b"\n")
            while line and not line.endswith(b"\n"):
                line = file.readline(_BLOCK)
                length += len(line)
            if not line:
                return
            yield length, None if long else line


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
