"""Paths and URLs, and the images at them as plain data: what everything that reads or writes by place shares."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from loco.errors import InputError, StorageError
from loco.images import EXTENSIONS

LISTED = (*EXTENSIONS, "gif", "heic", "avif", "jxl", "psd", "svg")
"""File name endings that somebody would call an image: those that cannot be read are reported, not overlooked."""


@dataclass(frozen=True)
class Source:
    """One image to be read, as plain data.

    Attributes:
        name: What it is called: relative, with forward slashes; outputs are named after it.
        place: Path or URL of its file, or of the file that contains it.
        kind: `file`, `tar` or `parquet`.
        start: Offset of its bytes in a tar, its row in a Parquet file.
        size: Their number in a tar.
        id: sha256 of its bytes where that is known, else empty.
        trouble: Why it cannot be read, where that is known already.
    """

    name: str
    place: str
    kind: str = "file"
    start: int = 0
    size: int = 0
    id: str = ""
    trouble: str = ""


def is_url(text: str) -> bool:
    """Whether it has a scheme; `file://` counts, `local_path` undoes it."""
    return "://" in text


def local_path(text: str) -> Path | None:
    """The path that a text or `file://` URL means, or None for another URL."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if is_url(text) else Path(text)


def checked(source: Source) -> Source:
    """The source with a name that is safe in paths, manifests and catalogues; otherwise with a trouble."""
    name = source.name
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="backslashreplace").decode()
        return replace(source, name=shown, trouble="its file name is not UTF-8; rename it")
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(ord(letter) < 32 for letter in name):
        safe = name.encode("unicode_escape").decode().replace("..", "__").strip("/") or "unnamed"
        return replace(
            source, name=safe, trouble=f"the name {name!r} leads elsewhere or is no name; rename it"
        )
    return source


def wanted(name: str) -> bool:
    """Whether a file of that name is to be edited, or reported when it cannot be."""
    base = PurePosixPath(name).name
    return not base.startswith(".") and PurePosixPath(base).suffix[1:].lower() in LISTED


def place_of(source: Source) -> str:
    """The source as messages have it."""
    return source.place if source.kind == "file" else f"{source.place}:{source.name.partition('/')[2]}"


def filesystem(where: str) -> tuple[Any, str]:
    """The file system of a path or URL and the path in it; raises `InputError` for a scheme nothing answers to."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(where)
    except (ValueError, ImportError) as error:
        raise InputError(f"{where}: {error}") from error
    return files, path


class listing:
    """Turns what goes wrong while something is listed or opened into an error that names it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{self._where}: no such file or folder") from error
        if isinstance(error, OSError):
            raise StorageError(f"{self._where}: cannot be listed ({error.strerror or error})") from error
        if isinstance(error, ValueError | ImportError):
            raise InputError(f"{self._where}: {error}") from error
