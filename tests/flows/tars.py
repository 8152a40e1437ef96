"""Tar shards that the flows' tests read from and find written."""

import io
import json
import tarfile

from loco.ids import bytes_id
from loco.images import encode
from tests.flows.helpers import picture


def shard(path, count, begin=0):
    """A tar of `count` images, made on the fly."""
    with tarfile.open(path, "w") as file:
        for number in range(begin, begin + count):
            data = encode(picture(number), "png")
            member = tarfile.TarInfo(f"{number:06d}.png")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def shards(folder, count, each):
    """So many images in tars of so many."""
    folder.mkdir()
    for number in range(0, count, each):
        shard(folder / f"{number // each:03d}.tar", min(each, count - number), number)
    return folder


def lines(out):
    """The whole lines of the manifest."""
    path = out / "manifest.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def check_packed(out):
    """Every shard that is to be seen is whole, and the manifest tells of each of its members once; their names."""
    told = {(line["shard"], line["member"]): line["checksum"] for line in lines(out)}
    found = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                found.append((path.name, member.name))
                assert bytes_id(archive.extractfile(member).read()) == told[found[-1]]
        with path.open("rb") as file:
            file.seek(-1024, 2)
            assert not any(file.read()), "an archive ends with two empty blocks"
    assert len(found) == len(set(found))
    return found
