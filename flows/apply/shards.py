"""Images inside other files: tar shards and Parquet files with a column of image bytes."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from flows.apply.places import Source, listing, wanted
from loco.errors import InputError

_ROWS = 64
"""Rows of a Parquet file in memory at a time."""


def contained(where: str) -> Iterator[Source]:
    """The images in a tar shard or Parquet file, in order; raises `InputError`."""
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
            listing(where),
            fsspec.open(where, "rb") as file,
            tarfile.open(fileobj=file, mode="r:") as shard,
        ):
            while (member := shard.next()) is not None:
                if member.isfile() and wanted(member.name):
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


class Rows:
    """The images of one Parquet file, read in order and a few at a time."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._file: Any = None
        self._blocks: Any = iter(())
        self._next = 0
        self._held: dict[int, bytes] = {}

    def get(self, row: int) -> bytes:
        """The bytes in that row; cheapest in order."""
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
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _parquet(where: str) -> Any:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with listing(where):
            handle = fsspec.open(where, "rb").open()
        return pq.ParquetFile(handle)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: not a Parquet file ({str(error).splitlines()[0]})") from error
