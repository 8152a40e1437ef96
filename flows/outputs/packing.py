"""Shards as files: written whole from their members, so that the same members give the same bytes."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

Member = tuple[str, bytes]
"""Name and bytes."""

_GROUP = 64
"""Rows of a group, at most."""

_ROOM = 64 * 2**20
"""Bytes of a group after which the next begins."""


def write_shard(kind: str, file: BinaryIO, members: Iterable[Member]) -> None:
    """Write a `tar` or `parquet` shard; memory holds one member, or a group of rows."""
    (_write_tar if kind == "tar" else _write_parquet)(file, members)


def _write_tar(file: BinaryIO, members: Iterable[Member]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all


def _write_parquet(file: BinaryIO, members: Iterable[Member]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"info": {"features": {"image": {"_type": "Image"}}}}  # so that `datasets` decodes it
    schema = pa.schema([("image", image)], {"huggingface": json.dumps(features)})
    with pq.ParquetWriter(file, schema, compression="none") as writer:  # images are compressed
        for group in _groups(members):
            rows = [{"image": {"bytes": data, "path": name}} for name, data in group]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _groups(members: Iterable[Member]) -> Iterator[list[Member]]:
    group: list[Any] = []
    room = 0
    for one in members:
        group.append(one)
        room += len(one[1])
        if len(group) == _GROUP or room >= _ROOM:
            yield group
            group, room = [], 0
    if group:
        yield group
