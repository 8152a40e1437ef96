"""Images inside other files: tar and ZIP archives, Parquet files with a column of image bytes, videos.

What cannot be opened is one source with its trouble. Members before a cut and sound groups of rows are images as ever.
"""

import bisect
import contextlib
import itertools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from flows.inputs.places import Source, at, bare, masked
from flows.inputs.videos import frames_in
from loco.archives import Member
from loco.errors import ImageError, InputError, LocoError
from loco.listing import MASKS, VIDEOS, is_container, looks_like_an_image
from loco.outside import IMAGE_LIMIT, printable

_ROWS = 64
"""Rows of a Parquet file in memory at a time."""

_UNSOUND = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError),
    *(
        ArithmeticError,
        AttributeError,
        TypeError,
        RuntimeError,
        AssertionError,
    ),  # deep within, on purpose or not
)

_BOMB = 64 * 2**20
_RATIO = 100
"""What unpacks to more bytes than the one, and to more times its size than the other, is no image."""

_NESTED = "an archive in an archive, which is not read; unpack it"

_IMAGE = (
    "image",
    "img",
    "bytes",
    "data",
    "content",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_bytes",
    "image_data",
)
"""Usual names of the column of images, the likeliest first."""


def contained(where: str, stem: str = "", every: bool = False) -> Iterator[Source]:
    """The images in an archive or Parquet file, in order, named below `stem`, which is its own name if left out.

    With `every` all members of a tar are, whatever their names.
    A file that cannot be opened, and what it loses by being cut off, are sources with a trouble.
    """
    path = PurePosixPath(bare(where))
    stem = stem or path.stem
    match path.suffix.lower():
        case ".tar":
            found = _in_tar(where, stem, every)
        case ".zip":
            found = _in_zip(where, stem)
        case _ if path.suffix[1:].lower() in VIDEOS:
            found = frames_in(where, stem)
        case _:
            found = _in_parquet(where, stem)
    try:
        for source in found:
            yield replace(source, inside=stem)
    except LocoError as error:
        yield Source(stem, where, trouble=masked(str(error)), inside=stem)


def _wanted(member: str) -> bool:
    """Whether a member is an image: not hidden, not below a folder of masks, and called like one."""
    parts = PurePosixPath(member).parts
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts) or "__MACOSX" in parts
    return looks_like_an_image(member) and not hidden and MASKS not in parts[:-1]


def _holds(member: str) -> bool:
    """Whether a member holds images itself, as far as its name tells."""
    return is_container(member) and _wanted(f"{member}.png")


def _in_tar(where: str, stem: str, every: bool) -> Iterator[Source]:
    """The members of a tar shard: only headers are read, and nothing is ever unpacked to disk."""
    count = 0
    with at(where) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=Member) as shard:
                while (member := shard.next()) is not None:
                    count += 1
                    shard.members.clear()  # type: ignore[attr-defined]  # it would remember them all
                    holds = _holds(member.name) and not every
                    if not holds and not every and not _wanted(member.name):
                        continue
                    name = f"{stem}/{member.name.removeprefix('./')}"
                    if holds:
                        yield Source(name, where, "tar", member.offset, trouble=_NESTED)
                    elif member.isreg() and not member.issparse():
                        yield Source(name, where, "tar", member.offset_data, member.size)
                    elif not member.isdir():
                        told = "sparse" if member.issparse() else "a link or another special member"
                        yield Source(name, where, "tar", member.offset, trouble=f"{told}, which is not read")
                file.seek(shard.offset)
                rest = file.read(tarfile.BLOCKSIZE)
        except _UNSOUND as error:
            rest = b""
            if not count:
                raise InputError(f"{where}: not a tar archive, or damaged ({error})") from error
    if len(rest) < tarfile.BLOCKSIZE or any(rest):
        yield Source(
            stem, where, trouble=f"{where}: cut off or damaged after {count} members; what followed is lost"
        )


def _in_zip(where: str, stem: str) -> Iterator[Source]:
    with at(where) as file, _archive(where, file) as archive:
        members = archive.infolist()
        for number, info in enumerate(members):
            holds = _holds(info.filename)
            if not info.is_dir() and (holds or _wanted(info.filename)):
                name = f"{stem}/{info.filename.removeprefix('./')}"
                yield Source(name, where, "zip", number, trouble=_NESTED if holds else "")
        told = _told_members(file)
    if told is not None and told != len(members) % 2**16:
        lost = f"{where}: its directory is damaged: it tells of {told} members and names {len(members)}"
        yield Source(stem, where, trouble=lost)


def _told_members(file: BinaryIO) -> int | None:
    """How many members a ZIP archive says it has, modulo 2**16; None where that stands elsewhere (ZIP64)."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 2**16 - 22))
    tail = file.read()
    record = tail[tail.rfind(b"PK\x05\x06") :]
    count = int.from_bytes(record[10:12], "little")  # APPNOTE 4.3.16
    return None if len(record) < 22 or count == 2**16 - 1 else count


@contextlib.contextmanager
def _archive(where: str, file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except _UNSOUND as error:
        raise InputError(f"{where}: not a ZIP archive, or cut off ({error})") from error
    with archive:
        yield archive


class Members:
    """The images of one ZIP archive, by number."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._stack = contextlib.ExitStack()
        try:
            file = self._stack.enter_context(at(place))
            self._archive = self._stack.enter_context(_archive(place, file))
        except BaseException:
            self._stack.close()
            raise

    def get(self, number: int) -> bytes:
        """The bytes of that member; raises `ImageError`."""
        info = self._archive.infolist()[number]
        shown = f"{masked(self._place)}:{printable(info.filename)}"
        if info.flag_bits & 1:
            raise ImageError(f"{shown}: encrypted; unpack the archive")
        if info.file_size > max(_BOMB, _RATIO * info.compress_size):
            raise ImageError(
                f"{shown}: {info.compress_size} bytes that unpack to {info.file_size}, as no image does; unpack it"
            )
        try:
            with self._archive.open(info) as member:
                data = member.read(IMAGE_LIMIT + 1)
        except _UNSOUND as error:
            raise ImageError(f"{shown}: damaged ({error})") from error
        if len(data) > IMAGE_LIMIT:
            raise ImageError(f"{shown}: more than the {IMAGE_LIMIT} bytes that are read")
        return data

    def close(self) -> None:
        """Close the archive."""
        self._stack.close()


def _in_parquet(where: str, stem: str) -> Iterator[Source]:
    """The rows of a Parquet file, named by a column of names, or by their number."""
    import pyarrow as pa

    with at(where) as handle:
        file = _parquet(where, handle)
        _, names = _columns(where, file.schema_arrow)
        row = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            done = 0
            try:
                for batch in file.iter_batches(4096, row_groups=[group], columns=names[:1]) if names else ():
                    for given in _flat(batch):
                        yield Source(f"{stem}/{_name(given, row + done)}", where, "parquet", row + done)
                        done += 1
            except (pa.ArrowException, OSError, *_UNSOUND):  # the names are damaged; the images need not be
                pass
            for number in range(row + done, row + count):
                yield Source(f"{stem}/{_name(None, number)}", where, "parquet", number)
            row += count


def _name(given: Any, row: int) -> str:
    """What a row is called: by its own name where that is one, which can lead nowhere."""
    path = PurePosixPath(str(given)) if given else PurePosixPath()
    name = path.name if path.is_absolute() else str(path)
    if not path.name or ".." in path.parts or printable(name) != name:
        return f"{row:08d}.png"
    return name


def _columns(where: str, schema: Any) -> tuple[str, list[str]]:
    """The column of image bytes, and of names where there is one: plain, or `bytes` and `path` of a struct."""
    import pyarrow as pa

    def plain(kind: Any) -> Any:
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def binary(kind: Any) -> bool:
        checks = (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
        return any(check(plain(kind)) for check in checks)

    def text(kind: Any) -> bool:
        checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        return any(check(plain(kind)) for check in checks)

    for field in schema:
        if pa.types.is_struct(field.type):
            inner = {one.name: one.type for one in field.type}
            if "bytes" in inner and binary(inner["bytes"]):
                return f"{field.name}.bytes", [f"{field.name}.path"] if "path" in inner else []
    names = [field.name for field in schema if text(field.type)]
    usual = [name for name in names if name in ("name", "path", "file_name", "filename", "key", "__key__")]
    columns = [field.name for field in schema if binary(field.type)]
    for column in sorted(
        columns, key=lambda one: _IMAGE.index(one.lower()) if one.lower() in _IMAGE else len(_IMAGE)
    ):
        return column, usual[:1]
    raise InputError(
        f"{where}: no column of image bytes; its columns are {', '.join(schema.names) or 'none'}"
    )


def _flat(batch: Any) -> list[Any]:
    """The values of the one column that was read: itself, or the one field of a struct."""
    values: list[Any] = batch.column(0).to_pylist()
    return [next(iter(one.values())) if isinstance(one, dict) else one for one in values]


class Rows:
    """The images of one Parquet file, a few at a time; a damaged group of rows costs its own alone."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._stack = contextlib.ExitStack()
        try:
            self._file = _parquet(place, self._stack.enter_context(at(place)))
            self._column = _columns(place, self._file.schema_arrow)[0]
        except BaseException:
            self._stack.close()
            raise
        counts = (self._file.metadata.row_group(one).num_rows for one in range(self._file.num_row_groups))
        self._ends = list(itertools.accumulate(counts))
        self._group = -1
        self._blocks: Iterator[Any] = iter(())
        self._next = 0
        self._held: dict[int, bytes] = {}

    def get(self, row: int) -> bytes:
        """The bytes in that row; cheapest in order. Raises `ImageError`."""
        import pyarrow as pa

        if row in self._held:
            return self._held[row]
        group = bisect.bisect_right(self._ends, row)
        if group >= len(self._ends):
            return b""
        if group != self._group or row < self._next:
            self._next = self._ends[group - 1] if group else 0
            self._group = group
            self._blocks = self._file.iter_batches(_ROWS, row_groups=[group], columns=[self._column])
        try:
            while row not in self._held and (block := next(self._blocks, None)) is not None:
                self._held = {one: data for one, data in self._held.items() if one >= self._next - 4 * _ROWS}
                for data in _flat(block):
                    self._held[self._next] = data or b""
                    self._next += 1
        except (pa.ArrowException, OSError, *_UNSOUND) as error:
            self._group = -1
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"{masked(self._place)}: rows of group {group} are damaged ({told})") from error
        return self._held.get(row, b"")

    def close(self) -> None:
        """Close the file."""
        self._stack.close()


def _parquet(where: str, handle: BinaryIO) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(handle)
    except (pa.ArrowException, OSError, *_UNSOUND) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: not a Parquet file, or cut off ({told})") from error
