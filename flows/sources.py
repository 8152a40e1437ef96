"""Where images come from: a folder, a pattern, a list of names, Parquet files, tar shards; by path or URL.

Listing yields plain `Source`s one by one and reads no image; `Fetcher.read` gives the bytes of one. Names come from
outside and end up in paths of outputs, so one that is absolute, climbs, or is no text is a source with a `trouble`.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from loco.errors import ImageError, InputError, StorageError
from loco.images import EXTENSIONS

LISTED = (*EXTENSIONS, "gif", "heic", "avif", "jxl", "psd", "svg")
"""File name endings that somebody would call an image: those that cannot be read are reported, not overlooked."""

MAX_FILE = 2 * 2**30
"""Bytes of one image file that are read."""

_ROWS = 64
"""Rows of a Parquet file in memory at a time."""


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
        yield from _contained(where)
    else:
        yield from _below(where, set(skip))


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


def _wanted(name: str) -> bool:
    base = PurePosixPath(name).name
    return not base.startswith(".") and PurePosixPath(base).suffix[1:].lower() in LISTED


def _below(where: str, skip: set[Path]) -> Iterator[Source]:
    """Image files below a folder: one folder's names in memory at a time."""
    folder = local_path(where)
    if folder is None:
        yield from _below_url(where)
        return
    if folder.is_file() and _wanted(folder.name):
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
        for name in sorted(filter(_wanted, files)):
            path = place / name
            yield Source(path.relative_to(folder).as_posix(), str(path))


def _below_url(where: str) -> Iterator[Source]:
    files, root = _filesystem(where)
    with _listing(where):
        if not files.isdir(root):
            raise InputError(f"{where}: no such folder")
        for here, folders, names in files.walk(root):
            folders.sort() if isinstance(folders, list) else None
            if "masks" in PurePosixPath(here).relative_to(root).parts:
                continue
            for name in sorted(filter(_wanted, names)):
                path = f"{here.rstrip('/')}/{name}"
                yield Source(path[len(root) :].strip("/"), files.unstrip_protocol(path))


def _matching(where: str, skip: set[Path]) -> Iterator[Source]:
    """What fits a pattern; shards that fit are opened."""
    files, pattern = _filesystem(where)
    fixed = pattern[: min(pattern.index(mark) for mark in "*?[" if mark in pattern)]
    root = fixed.rpartition("/")[0]
    local = local_path(where) is not None
    with _listing(where):
        found = sorted(files.glob(pattern))
    if not found:
        raise InputError(f"{where}: nothing fits this pattern")
    for path in found:
        place = path if local else files.unstrip_protocol(path)
        if PurePosixPath(path).suffix.lower() in (".tar", ".parquet"):
            yield from _contained(place)
        elif _wanted(path) and not any(Path(path).is_relative_to(one) for one in skip):
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

    with _listing(where), fsspec.open(where, "rt", encoding="utf-8", errors="surrogateescape") as file:
        yield from file


def _contained(where: str) -> Iterator[Source]:
    if PurePosixPath(where).suffix.lower() == ".tar":
        yield from _in_tar(where)
    else:
        yield from _in_parquet(where)


def _in_tar(where: str) -> Iterator[Source]:
    """The members of a tar shard: only headers are read, and nothing is ever unpacked to disk."""
    import tarfile

    import fsspec

    stem = PurePosixPath(where).stem
    try:
        with (
            _listing(where),
            fsspec.open(where, "rb") as file,
            tarfile.open(fileobj=file, mode="r:") as shard,
        ):
            while (member := shard.next()) is not None:
                if member.isfile() and _wanted(member.name):
                    yield Source(
                        f"{stem}/{member.name.removeprefix('./')}",
                        where,
                        "tar",
                        member.offset_data,
                        member.size,
                    )
                shard.members.clear()  # type: ignore[attr-defined]  # it would remember them all
    except tarfile.TarError as error:
        raise InputError(f"{where}: not a tar archive, or damaged ({error})") from error


def _in_parquet(where: str) -> Iterator[Source]:
    """The rows of a Parquet file, named by a column of names, or by their number."""
    with _parquet(where) as file:
        _, names = _columns(where, file.schema_arrow)
        stem, row = PurePosixPath(where).stem, 0
        for batch in file.iter_batches(batch_size=4096, columns=names):
            given = _flat(batch, names[0]) if names else None
            for k in range(batch.num_rows if names else 0):
                name = str(given[k]) if given is not None and given[k] else f"{row + k:08d}.png"
                yield Source(f"{stem}/{name.strip('/')}", where, "parquet", row + k)
            row += batch.num_rows
        if not names:
            for number in range(file.metadata.num_rows):
                yield Source(f"{stem}/{number:08d}.png", where, "parquet", number)


def _columns(where: str, schema: Any) -> tuple[str, list[str]]:
    """The column of image bytes, and of names where there is one: plain, or `bytes` and `path` of a struct."""
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def text(kind: Any) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    for field in schema:
        if pa.types.is_struct(field.type):
            inner = {one.name: one.type for one in field.type}
            if "bytes" in inner and binary(inner["bytes"]):
                return f"{field.name}.bytes", [f"{field.name}.path"] if "path" in inner else []
    names = [field.name for field in schema if text(field.type)]
    usual = [name for name in names if name in ("name", "path", "file_name", "filename", "key", "__key__")]
    for field in schema:
        if binary(field.type):
            return field.name, usual[:1]
    raise InputError(
        f"{where}: no column of image bytes; its columns are {', '.join(schema.names) or 'none'}"
    )


def _flat(batch: Any, column: str) -> list[Any]:
    name, _, inner = column.partition(".")
    values: list[Any] = batch.column(name).to_pylist()
    return [None if one is None else one[inner] for one in values] if inner else values


class Fetcher:
    """Reads sources' bytes, for any number of threads; what is open stays open until `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, _Rows] = {}

    def read(self, source: Source) -> bytes:
        """The bytes of one image; raises `ImageError`."""
        shown = place_of(source)
        if source.trouble:
            raise ImageError(f"{shown}: {source.trouble}")
        try:
            if source.kind == "parquet":
                with self._lock:
                    rows = self._tables.setdefault(source.place, _Rows(source.place))
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


def place_of(source: Source) -> str:
    """The source as messages have it."""
    return source.place if source.kind == "file" else f"{source.place}:{source.name.partition('/')[2]}"


def _bytes(source: Source) -> bytes:
    path = local_path(source.place)
    if path is None:
        files, inner = _filesystem(source.place)
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


class _Rows:
    """The images of one Parquet file, read in order and a few at a time."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._file: Any = None
        self._blocks: Any = iter(())
        self._next = 0
        self._held: dict[int, bytes] = {}

    def get(self, row: int) -> bytes:
        if row not in self._held and (self._file is None or row < self._next):
            self._open()
        while row not in self._held and (block := next(self._blocks, None)) is not None:
            self._held = {one: data for one, data in self._held.items() if one >= self._next - 4 * _ROWS}
            for data in _flat(block, self._column):
                self._held[self._next] = data or b""
                self._next += 1
        return self._held.get(row, b"")

    def _open(self) -> None:
        self.close()
        self._file = _parquet(self._place)
        self._column = _columns(self._place, self._file.schema_arrow)[0]
        self._blocks = self._file.iter_batches(batch_size=_ROWS, columns=[self._column])
        self._next, self._held = 0, {}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _parquet(where: str) -> Any:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _listing(where):
            handle = fsspec.open(where, "rb").open()
        return pq.ParquetFile(handle)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: not a Parquet file ({str(error).splitlines()[0]})") from error


def _filesystem(where: str) -> tuple[Any, str]:
    """The file system of a path or URL and the path in it; raises `InputError` for a scheme nothing answers to."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(where)
    except (ValueError, ImportError) as error:
        raise InputError(f"{where}: {error}") from error
    return files, path


class _listing:
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
