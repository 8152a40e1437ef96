"""The one opener for files: images, masks, lists, shards, recipes, keys, imports, models' JSON, and the home's own.

Only regular files are opened, without waiting for anybody (a named pipe would hang, a device never end, a socket is
none), and no more is read than is sensible for a file of that kind. Names and causes are made printable here too.
"""

import codecs
import contextlib
import errno
import io
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from loco.errors import ImageError, LocoError

IMAGE_LIMIT = 2**30
"""Bytes of one image or mask file that are read."""

TEXT_LIMIT = 64 * 2**20
"""Bytes of a recipe, a table of classes or another small text that are read."""

_NOT_REGULAR = "not a regular file"

_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|\\)")

_REMEDIES = {
    errno.ELOOP: "the link leads in a circle; remove it",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EMFILE: "raise the limit of open files, `ulimit -n`",
    errno.ENFILE: "close other programs: the system has too many files open",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the share again",
    errno.ETIMEDOUT: "check the network share",
    errno.ENOTCONN: "mount the share again",
    errno.ENOTDIR: "a part of the path is a file; move it away",
    errno.EISDIR: "a folder has that name; move it away",
    errno.EEXIST: "a file has that name; move it away",
    errno.EDQUOT: "free space: the quota is used up",
}


def remedy(error: OSError, default: str) -> str:
    """What to do about an operating system's error, or `default` where its number tells nothing special."""
    return _REMEDIES.get(error.errno or 0, default)


def cause(error: OSError) -> str:
    """The error in words, with its remedy where the words alone do not tell it."""
    told = error.strerror or str(error)
    if error.errno in (None, errno.EISDIR, errno.EEXIST) or error.errno not in _REMEDIES:
        return told
    return f"{told}: {_REMEDIES[error.errno]}"


def regular(path: Path) -> io.BufferedReader:
    """The file, open for reading; raises `OSError` as `open` does, and at once for what is no regular file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as trouble:
        if trouble.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise OSError(errno.ENXIO, _NOT_REGULAR, str(path)) from trouble
        raise
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.ENXIO, _NOT_REGULAR, str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def regular_bytes(path: Path) -> bytes:
    """All bytes of the file; raises `OSError` as `regular` does."""
    with regular(path) as file:
        return file.read()


@contextlib.contextmanager
def opened(path: Path, error: type[LocoError] = ImageError, limit: int | None = None) -> Iterator[BinaryIO]:
    """The file, open for reading; raises `error` where it is none, larger than `limit` bytes, or cannot be read."""
    try:
        with regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if limit is not None and size > limit:
                raise error(f"{path}: {size} bytes, more than the {limit} that are read")
            yield file
    except FileNotFoundError as trouble:
        raise error(f"{path}: no such file") from trouble
    except OSError as trouble:
        if trouble.errno == errno.ENXIO:
            raise error(f"{path}: {_NOT_REGULAR}") from trouble
        raise error(f"{path}: cannot be read ({cause(trouble)})") from trouble
    except ValueError as trouble:
        if "null" not in str(trouble):
            raise
        raise error(f"{printable(str(path))}: no file has such a name") from trouble


def read(path: Path, error: type[LocoError] = ImageError, limit: int = IMAGE_LIMIT) -> bytes:
    """The bytes of the file; raises as `opened` does."""
    with opened(path, error, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:  # it grew, or is one of those whose size is not told
        raise error(f"{path}: more than the {limit} bytes that are read")
    return data


def read_text(path: Path, error: type[LocoError] = ImageError, limit: int = TEXT_LIMIT) -> str:
    """The text of the file, whichever of the usual encodings it is in; raises as `opened` does, and for another."""
    try:
        return text_of(read(path, error, limit))
    except UnicodeDecodeError as trouble:
        raise error(f"{path}: not text in UTF-8 or UTF-16 ({trouble.reason})") from trouble


def text_of(data: bytes, errors: str = "strict") -> str:
    """Text in the encoding that `encoding_of` finds; raises `UnicodeDecodeError`."""
    return data.decode(encoding_of(data[:4]), errors)


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first 4 bytes, with a mark or without: UTF-8, else UTF-16 or UTF-32.

    Without a mark the first letter is taken for an ASCII one, as it is in lists, tables and JSON.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = tuple(not one for one in head[:4])
    bare: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return bare.get(zeros, "utf-8-sig")


def there(path: Path) -> bool:
    """Whether something can be found at a path; not so for what is too long to be one, or behind a closed door."""
    try:
        return path.exists()
    except OSError:
        return False


def printable(text: str) -> str:
    """A name or cause from outside that every manifest, catalogue and terminal can hold; two names stay two.

    What is no text (bytes that are not UTF-8, half pairs), controls and line separators become escapes; where a text
    has such, or looks as if, its backslashes are doubled.
    """
    if not _ESCAPE.search(text) and not any(_dark(letter) for letter in text):
        return text
    return "".join(_shown(letter) for letter in text)


def told(text: str) -> str:
    """A cause that may hold such a name, made printable already or not yet."""
    return "".join(_shown(letter) if _dark(letter) else letter for letter in text)


def is_text(name: str) -> bool:
    """Whether a name is as every manifest, catalogue and terminal can hold it."""
    return not any(_dark(letter) for letter in name)


def _dark(letter: str) -> bool:
    return not letter.isprintable() and unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def _shown(letter: str) -> str:
    if letter == "\\":
        return "\\\\"
    if not _dark(letter):
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}"
