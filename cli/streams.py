"""Standard output and error as they may be: closed, full, a pipe that nobody reads, unable to show a letter."""

import errno
import os
import sys
from typing import Any, TextIO

from loco.errors import StorageError


def prepare() -> None:
    """Make output fail in one way only: what cannot be shown is escaped, what cannot be written is a `StorageError`.

    A pipe that was closed stays what it is to the shell; errors that cannot be told are not told.
    """
    for handle in (0, 1, 2):  # else the first file that is opened gets the number, and what is printed
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, lost in (("stdout", _raise), ("stderr", _pass)):
        stream = getattr(sys, name)
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, _Careful(stream, lost))


def _raise(error: OSError) -> None:
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), 1
    )  # what is still in the buffer would fail once more at the end
    if error.errno == errno.EPIPE:
        raise error
    raise StorageError(
        f"cannot write the output: {error.strerror or error}; free the disk, or send it elsewhere"
    ) from error


def _pass(error: OSError) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class _Careful:
    """A text stream that hands what goes wrong in writing to `lost`."""

    def __init__(self, stream: TextIO, lost: Any) -> None:
        self._stream, self._lost = stream, lost

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # past which nobody shall write: click does where the encoding is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)
