"""Paths and URLs, and the images at them as plain data: what everything that reads or writes by place shares."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote

from loco.errors import InputError, StorageError
from loco.outside import cause, is_text, opened, printable, there, told
from loco.urls import masked as masked


@dataclass(frozen=True)
class Source:
    """One image to be read, as plain data. What it is, is its place and position: names are for people.

    Attributes:
        name: What it is called: relative, with forward slashes; outputs are named after it.
        place: Path or URL of its file, or of the file that contains it.
        kind: `file`, `tar`, `zip`, `parquet` or `video`.
        start: Offset of its bytes in a tar, its number in a ZIP archive or video, its row in a Parquet file.
        size: Number of its bytes in a tar.
        id: sha256 of its bytes where that is known, else empty.
        trouble: Why it cannot be read, where that is known already.
        inside: What the file that contains it is called, without its ending: names begin with it.
    """

    name: str
    place: str
    kind: str = "file"
    start: int = 0
    size: int = 0
    id: str = ""
    trouble: str = ""
    inside: str = ""


def is_url(text: str) -> bool:
    """Whether it has a scheme; `file://` counts, `local_path` undoes it."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*(::|://)", text) is not None


def local_path(text: str) -> Path | None:
    """The path that a text or `file://` URL means, or None for another URL.

    `%20` in a URL is a space, unless there is something of just that name.
    """
    if text.startswith("file://"):
        rest = text.removeprefix("file://").removeprefix("localhost")
        return Path(rest if there(Path(rest)) else unquote(rest))
    return None if is_url(text) and not there(Path(text)) else Path(text)


def bare(where: str) -> str:
    """A place without the query of a URL; in a path a question mark is a letter as any other."""
    return where.partition("?")[0] if local_path(where) is None else where


def checked(source: Source) -> Source:
    """The source with a name that is safe in paths, manifests and catalogues; otherwise with a trouble."""
    name = source.name
    shown = name if is_text(name) else printable(name)
    path = PurePosixPath(name)
    trouble = source.trouble
    if shown != name:
        text = name.isprintable() or name.encode(errors="replace") == name.encode(errors="ignore")
        trouble = trouble or (
            f"the name {shown!r} leads elsewhere or is no name; rename it"
            if text
            else "its file name is not UTF-8; rename it"
        )
    if not name or path.is_absolute() or ".." in path.parts:
        trouble = trouble or f"the name {shown!r} leads elsewhere or is no name; rename it"
        shown = shown.replace("..", "__").strip("/") or "unnamed"
    if not trouble:
        # Without `//` and `./`: two names of one path must not become two images with one output.
        return replace(source, name=path.as_posix())
    # Nothing opens its place any more, and messages and manifests must be able to hold it.
    return replace(source, name=shown, place=printable(source.place), trouble=told(masked(trouble)))


def place_of(source: Source) -> str:
    """The source as messages have it."""
    if source.kind == "file":
        return masked(source.place)
    inner = source.name.partition("/")[2]
    return f"{masked(source.place)}:{inner}" + (f" (row {source.start})" if source.kind == "parquet" else "")


def filesystem(where: str) -> tuple[Any, str]:
    """The file system of a path or URL and the path in it; raises `InputError` for a scheme nothing answers to."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(where)
    except (ValueError, ImportError) as error:
        raise InputError(masked(f"{where}: {error}")) from error
    return files, path


class listing:
    """Turns what goes wrong while something is listed or opened into an error that names it."""

    def __init__(self, where: str) -> None:
        self._where = masked(printable(where))

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{self._where}: no such file or folder") from error
        if isinstance(error, OSError):
            raise StorageError(f"{self._where}: cannot be listed ({masked(cause(error))})") from error
        if isinstance(error, ValueError | ImportError):
            raise InputError(f"{self._where}: {masked(str(error))}") from error


@contextmanager
def at(where: str) -> Iterator[BinaryIO]:
    """The file at a path or URL, open; raises `InputError`, `StorageError`."""
    path = local_path(where)
    if path is not None:
        with opened(path, InputError) as own:
            yield own
        return
    import fsspec

    with listing(where), fsspec.open(where, "rb") as file:
        yield file
