"""Where images come from: a folder, a pattern, a list of names, Parquet files, tar shards; by path or URL.

Listing yields plain `Source`s one by one and reads no image; `Fetcher.read` gives the bytes of one. Names come from
outside and end up in paths of outputs, so one that is absolute, climbs, or is no text is a source with a `trouble`.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from flows.apply.places import Source, filesystem, is_url, listing, local_path, place_of, wanted
from flows.apply.shards import Rows, contained
from loco.errors import ImageError, InputError, StorageError

MAX_FILE = 2 * 2**30
"""Bytes of one image file that are read."""


def list_sources(where: str, skip: Iterable[Path] = ()) -> Iterator[Source]:
    """All images at `where`, in a fixed order, without reading one.

    A folder, one file, or a pattern with `*`; a `.txt` file of names or URLs, one a line, relative ones from its own
    folder; `.parquet` files with image bytes in a column; `.tar` shards. Folders in `skip`, hidden files and `masks`
    are left out. Raises `InputError` where there is nothing of the kind, `StorageError` where it cannot be listed.
    """
    ending = PurePosixPath(where).suffix.lower()
    if any(mark in where for mark in "*?["):
        yield from _matching(where, set(skip))
    elif ending == ".txt":
        yield from _listed_in(where)
    elif ending in (".tar", ".parquet"):
        yield from contained(where)
    else:
        yield from _below(where, set(skip))


def _below(where: str, skip: set[Path]) -> Iterator[Source]:
    """Image files below a folder: one folder's names in memory at a time."""
    folder = local_path(where)
    if folder is None:
        yield from _below_url(where)
        return
    if folder.is_file() and wanted(folder.name):
        yield Source(folder.name, str(folder))
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    skipped = {folder / "masks", *skip}
    skipped |= {path.resolve() for path in skipped}

    def refuse(error: OSError) -> None:
        raise StorageError(f"{error.filename}: cannot be listed ({error.strerror})") from error

    for here, folders, files in os.walk(folder, onerror=refuse):
        place = Path(here)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and place / name not in skipped
            and (place / name).resolve() not in skipped
        )
        for name in sorted(filter(wanted, files)):
            path = place / name
            yield Source(path.relative_to(folder).as_posix(), str(path))


def _below_url(where: str) -> Iterator[Source]:
    files, root = filesystem(where)
    with listing(where):
        if not files.isdir(root):
            raise InputError(f"{where}: no such folder")
        for here, folders, names in files.walk(root):
            folders.sort() if isinstance(folders, list) else None
            if "masks" in PurePosixPath(here).relative_to(root).parts:
                continue
            for name in sorted(filter(wanted, names)):
                path = f"{here.rstrip('/')}/{name}"
                yield Source(path[len(root) :].strip("/"), files.unstrip_protocol(path))


def _matching(where: str, skip: set[Path]) -> Iterator[Source]:
    """What fits a pattern; shards that fit are opened."""
    files, pattern = filesystem(where)
    fixed = pattern[: min(pattern.index(mark) for mark in "*?[" if mark in pattern)]
    root = fixed.rpartition("/")[0]
    local = local_path(where) is not None
    with listing(where):
        found = sorted(files.glob(pattern))
    if not found:
        raise InputError(f"{where}: nothing fits this pattern")
    for path in found:
        place = path if local else files.unstrip_protocol(path)
        if PurePosixPath(path).suffix.lower() in (".tar", ".parquet"):
            yield from contained(place)
        elif wanted(path) and not any(Path(path).is_relative_to(one) for one in skip):
            yield Source(path[len(root) :].strip("/"), place)


def _listed_in(where: str) -> Iterator[Source]:
    """The names in a text file."""
    own = local_path(where)
    base = where.rpartition("/")[0]
    for line in _lines(where):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if is_url(name):
            yield Source(name.partition("://")[2].strip("/"), name)
        elif name.startswith("/"):
            yield Source(name.strip("/"), name)
        else:
            yield Source(name, str(own.parent / name) if own is not None else f"{base}/{name}")


def _lines(where: str) -> Iterator[str]:
    import fsspec

    with listing(where), fsspec.open(where, "rt", encoding="utf-8", errors="surrogateescape") as file:
        yield from file


class Fetcher:
    """Reads sources' bytes, for any number of threads; what is open stays open until `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, Rows] = {}

    def read(self, source: Source) -> bytes:
        """The bytes of one image; raises `ImageError`."""
        shown = place_of(source)
        if source.trouble:
            raise ImageError(f"{shown}: {source.trouble}")
        try:
            if source.kind == "parquet":
                with self._lock:
                    rows = self._tables.setdefault(source.place, Rows(source.place))
                    data = rows.get(source.start)
            else:
                data = _bytes(source)
        except FileNotFoundError as error:
            raise ImageError(f"{shown}: no such file") from error
        except InputError as error:
            raise ImageError(str(error)) from error
        except OSError as error:
            raise ImageError(f"{shown}: cannot be read ({error.strerror or error})") from error
        if not data:
            raise ImageError(f"{shown}: empty file (0 bytes)")
        if source.size and len(data) < source.size:
            raise ImageError(f"{shown}: truncated ({len(data)} of {source.size} bytes)")
        return data

    def close(self) -> None:
        """Close what is open."""
        for rows in self._tables.values():
            rows.close()


def _bytes(source: Source) -> bytes:
    path = local_path(source.place)
    if path is None:
        files, inner = filesystem(source.place)
        end = None if source.kind == "file" else source.start + source.size
        data: bytes = files.cat_file(inner, start=source.start or None, end=end)
        return data
    if not path.is_file():  # a pipe would hang, a folder confuse
        if path.exists():
            raise ImageError(f"{path}: not a regular file")
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        size = source.size or os.fstat(file.fileno()).st_size
        if size > MAX_FILE:
            raise ImageError(f"{path}: {size} bytes, more than the {MAX_FILE} that are read")
        file.seek(source.start)
        return file.read(size if source.kind == "tar" else -1)
