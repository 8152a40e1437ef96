"""Where images come from: a folder, a pattern, a list, Parquet files, archives, videos; by path or URL.

Listing yields plain `Source`s one by one and reads no image; `Fetcher.read` gives the bytes of one. What cannot be
opened or listed is a source with a `trouble`, so that it is told of and costs nothing beside it. Names come from
outside and end up in paths of outputs: `checked` makes them safe.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from flows.inputs.lists import ENDINGS, listed_in
from flows.inputs.places import Source, filesystem, is_url, listing, local_path, masked, place_of
from flows.inputs.shards import Members, Rows, contained
from flows.inputs.videos import Frames
from loco.errors import ImageError, InputError, LocoError
from loco.listing import (
    ACCEPTED,
    MASKS,
    Entry,
    begins_like_an_image,
    ending,
    is_container,
    looks_like_an_image,
    walk,
)
from loco.outside import IMAGE_LIMIT, cause, opened, printable, there, told

Say = Callable[[str], None]

_MARKS = "*?["
_PACKED = ("gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tbz2", "txz")


def list_sources(where: str, skip: Iterable[Path] = (), say: Say = lambda _: None) -> Iterator[Source]:
    """All images at `where`, in a fixed order, without reading one.

    What exists under just that name comes first: a folder, an image, a list, a Parquet file, an archive; then what
    fits it as a pattern. Folders in `skip`, hidden files and folders called `masks` are left out; `say` is told what
    else is. Raises `InputError` where there is nothing of the kind, `StorageError` where it cannot be listed.
    """
    skip = set(skip)
    path = local_path(where)
    if path is None:
        yield from _at_url(where)
    elif not where.removeprefix("file://").strip():
        raise InputError(f"expected {ACCEPTED}, found no name")
    elif there(path) and path.is_dir():
        yield from _below(path, skip, say)
    elif os.path.lexists(path):
        yield from _in_file(path)
    elif any(mark in where for mark in _MARKS):
        yield from _matching(path, skip, say)
    else:
        with listing(where), contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            path.stat()
        raise InputError(f"{printable(str(path))}: no such file or folder; expected {ACCEPTED}")


def _in_file(path: Path) -> Iterator[Source]:
    """What one file holds, or is."""
    kind = ending(path.name)
    if kind in ENDINGS:
        yield from listed_in(str(path))
    elif is_container(path.name):
        found = list(_first(contained(str(path))))
        if found and found[0].trouble and found[0].kind == "file" and len(found) == 1:
            raise InputError(found[0].trouble)  # asked for by itself, it is not one item of many
        yield from contained(str(path))
    elif looks_like_an_image(path.name) or begins_like_an_image(path):
        yield Source(path.name, str(path))
    else:
        with opened(path, InputError):  # a pipe or device is told as what it is
            packed = kind in _PACKED
        what = "a compressed archive; unpack it" if packed else "a file of another kind"
        raise InputError(f"{path}: {what}; images are taken from {ACCEPTED}")


def _first(sources: Iterator[Source]) -> Iterator[Source]:
    """At most two."""
    for _, source in zip(range(2), sources, strict=False):
        yield source


def _below(folder: Path, skip: set[Path], say: Say) -> Iterator[Source]:
    """Images below a folder; where there is none, those in the archives and Parquet files below it."""
    holders: list[Entry] = []
    images = 0
    for entry in walk(folder, skip, follow=True, containers=True, say=say):
        if entry.contains and not entry.trouble:
            holders.append(entry)
            continue
        images += not entry.trouble
        yield Source(entry.name, str(entry.path), trouble=entry.trouble)
    if images and holders:
        say(
            f"{folder}: {len(holders)} files that hold images ({holders[0].name} ...) beside the images "
            f"are not read; name them with a pattern, such as '{folder}/**/*.{ending(holders[0].name)}'"
        )
    elif holders:
        yield from _held(folder, holders)


def _held(folder: Path, holders: Iterable[Entry]) -> Iterator[Source]:
    for entry in holders:
        yield from contained(str(entry.path), entry.name.rpartition(".")[0])


def _matching(pattern: Path, skip: set[Path], say: Say) -> Iterator[Source]:
    """What fits a pattern of paths; archives and Parquet files that fit are opened."""
    import re

    from fsspec.utils import glob_translate

    parts = pattern.parts
    begin = next(number for number, part in enumerate(parts) if any(mark in part for mark in _MARKS))
    root, rest = Path(*parts[:begin]), parts[begin:]
    if not root.is_dir():
        raise InputError(f"{pattern}: nothing fits this pattern, for there is no folder {root}")
    fits = re.compile(glob_translate("/".join(rest))).fullmatch
    depth = None if any("**" in part for part in rest) else len(rest)
    found = False
    masks = MASKS in rest  # who names them wants them
    for entry in walk(root, skip, follow=True, containers=True, depth=depth, say=say, keep_masks=masks):
        if entry.trouble or fits(entry.name):
            found = found or not entry.trouble
            if entry.contains and not entry.trouble:
                yield from contained(str(entry.path), entry.name.rpartition(".")[0])
            else:
                yield Source(entry.name, str(entry.path), trouble=entry.trouble)
    if not found:
        raise InputError(f"{pattern}: nothing fits this pattern")


def _at_url(where: str) -> Iterator[Source]:
    """The same by URL."""
    bare = where.partition("?")[0]
    if ending(bare) in ENDINGS:
        yield from listed_in(where)
    elif is_container(bare):
        yield from contained(where)
    elif any(mark in bare for mark in "*["):
        yield from _matching_url(where)
    else:
        yield from _below_url(where)


def _below_url(where: str) -> Iterator[Source]:
    files, root = filesystem(where)
    with listing(where):
        if not files.isdir(root):
            if looks_like_an_image(where.partition("?")[0]) and files.exists(root):
                yield Source(PurePosixPath(where.partition("?")[0]).name, where)
                return
            raise InputError(f"{masked(where)}: no such folder; expected {ACCEPTED}")
        for here, folders, names in files.walk(root):
            folders.sort() if isinstance(folders, list) else None
            if MASKS in PurePosixPath(here).relative_to(root).parts:
                continue
            for name in sorted(filter(looks_like_an_image, names)):
                path = f"{here.rstrip('/')}/{name}"
                yield Source(path[len(root) :].strip("/"), files.unstrip_protocol(path))


def _matching_url(where: str) -> Iterator[Source]:
    files, pattern = filesystem(where)
    fixed = pattern[: min(pattern.index(mark) for mark in _MARKS if mark in pattern)]
    root = fixed.rpartition("/")[0]
    with listing(where):
        found = sorted(files.glob(pattern))
    if not found:
        raise InputError(f"{masked(where)}: nothing fits this pattern")
    for path in found:
        name, place = path[len(root) :].strip("/"), files.unstrip_protocol(path)
        if is_container(path):
            yield from contained(place, name.rpartition(".")[0])
        elif looks_like_an_image(path) and (MASKS in pattern or MASKS not in PurePosixPath(name).parts):
            yield Source(name, place)


class _Held(Protocol):
    """What holds images and is open."""

    def get(self, number: int) -> bytes: ...

    def close(self) -> None: ...


_HELD: dict[str, Callable[[str], _Held]] = {"parquet": Rows, "zip": Members, "video": Frames}


class Fetcher:
    """Reads sources' bytes, for any number of threads; what is open stays open until `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Held] = {}

    def read(self, source: Source) -> bytes:
        """The bytes of one image; raises `ImageError`, whatever goes wrong."""
        shown = place_of(source)
        if source.trouble:
            raise ImageError(source.trouble if shown in source.trouble else f"{shown}: {source.trouble}")
        try:
            data = self._bytes(source)
        except FileNotFoundError as error:
            raise ImageError(f"{shown}: no such file") from error
        except LocoError as error:
            raise ImageError(masked(str(error))) from error
        except OSError as error:
            raise ImageError(f"{shown}: cannot be read ({masked(cause(error))})") from error
        except Exception as error:
            why = told(masked(f"{type(error).__name__}: {error}"))
            raise ImageError(f"{shown}: cannot be read ({why})") from error
        if not data:
            raise ImageError(f"{shown}: empty file (0 bytes)")
        if len(data) < source.size:
            raise ImageError(f"{shown}: truncated ({len(data)} of {source.size} bytes)")
        return data

    def _bytes(self, source: Source) -> bytes:
        if source.kind in _HELD:
            with self._lock:
                held = self._open.get(source.place)
                if held is None:
                    held = self._open[source.place] = _HELD[source.kind](source.place)
                return held.get(source.start)
        if source.size > IMAGE_LIMIT:
            raise ImageError(
                f"{place_of(source)}: {source.size} bytes, more than the {IMAGE_LIMIT} that are read"
            )
        path = local_path(source.place)
        if path is None:
            return _remote(source)
        with opened(path, limit=IMAGE_LIMIT if source.kind == "file" else None) as file:
            file.seek(source.start)
            return file.read(source.size if source.kind == "tar" else IMAGE_LIMIT)

    def close(self) -> None:
        """Close what is open."""
        for held in self._open.values():
            held.close()


def _remote(source: Source) -> bytes:
    files, inner = filesystem(source.place)
    if source.kind == "tar":
        data: bytes = files.cat_file(inner, start=source.start, end=source.start + source.size)
        return data
    with files.open(inner, "rb") as file:
        data = file.read(IMAGE_LIMIT + 1)
    if len(data) > IMAGE_LIMIT:
        raise ImageError(f"{place_of(source)}: more than the {IMAGE_LIMIT} bytes that are read")
    return data


__all__ = ["Fetcher", "is_url", "list_sources"]
