"""Images from patterns, lists, Parquet files, tar shards and URLs; results to URLs."""

import io
import json
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.apply.places import Source, checked
from flows.apply.sources import Fetcher, list_sources
from flows.apply.spool import Spool
from loco.errors import ImageError, InputError
from loco.ids import bytes_id
from loco.images import encode
from tests.flows.helpers import applied, counts, picture, save


@pytest.fixture
def pictures():
    """Name -> bytes of three images."""
    return {f"{name}.png": encode(picture(k), "png") for k, name in enumerate(("one", "two", "three"))}


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    yield files
    for path in files.ls("/", detail=False):
        files.rm(path, recursive=True)


def read_all(where):
    fetcher = Fetcher()
    found = {source.name: fetcher.read(source) for source in list_sources(str(where))}
    fetcher.close()
    return found


def shard(path, members):
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def test_a_folder_and_a_pattern(tmp_path, pictures):
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "one.png").write_bytes(b"no image of the folder")
    (tmp_path / ".hidden.png").write_bytes(b"nor this")
    assert read_all(tmp_path) == pictures
    assert list(read_all(tmp_path)) == sorted(pictures)
    assert list(read_all(tmp_path / "t*.png")) == ["three.png", "two.png"]
    assert read_all(tmp_path / "two.png") == {"two.png": pictures["two.png"]}
    with pytest.raises(InputError, match="nothing fits this pattern"):
        list(list_sources(str(tmp_path / "z*.png")))


def test_a_list(tmp_path, pictures):
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    elsewhere = save(tmp_path / "else" / "four.png", picture(4))
    listed = tmp_path / "list.txt"
    listed.write_text(f"# mine\none.png\n\nthree.png\n{elsewhere}\nmissing.png\n")
    fetcher, sources = Fetcher(), list(list_sources(str(listed)))
    assert [one.name for one in sources] == ["one.png", "three.png", str(elsewhere).strip("/"), "missing.png"]
    assert [fetcher.read(one) for one in sources[:2]] == [pictures["one.png"], pictures["three.png"]]
    with pytest.raises(ImageError, match="no such file"):
        fetcher.read(sources[3])


def test_tar_shards(tmp_path, pictures):
    for number in range(2):
        shard(
            tmp_path / f"part-{number}.tar",
            {f"./{name}": data for name, data in pictures.items()} | {"a.json": b"{}"},
        )
    expected = {f"part-{k}/{name}": data for k in range(2) for name, data in pictures.items()}
    assert read_all(tmp_path / "*.tar") == expected
    (tmp_path / "torn.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match=r"torn.tar: not a tar archive, or damaged"):
        list(list_sources(str(tmp_path / "torn.tar")))


@pytest.mark.parametrize("kind", ["plain", "struct", "unnamed"])
def test_parquet(tmp_path, kind):
    data = {f"{k:03d}.png": encode(picture(k, 4, 4), "png") for k in range(300)}
    if kind == "struct":
        table = pa.table({"image": [{"bytes": value, "path": name} for name, value in data.items()]})
    elif kind == "plain":
        table = pa.table({"name": list(data), "label": [1] * 300, "jpg": list(data.values())})
    else:
        table = pa.table({"content": list(data.values())})
        data = {f"{k:08d}.png": value for k, value in enumerate(data.values())}
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=70)
    assert read_all(tmp_path / "part.parquet") == {f"part/{name}": value for name, value in data.items()}
    sources = list(list_sources(str(tmp_path / "part.parquet")))
    fetcher = Fetcher()
    for row in (250, 3, 299, 298):  # readers do not take turns
        assert fetcher.read(sources[row]) == list(data.values())[row]
    fetcher.close()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no column of image bytes; its columns are x"):
        list(list_sources(str(tmp_path / "none.parquet")))


def test_urls(memory, pictures):
    for name, data in pictures.items():
        memory.pipe_file(f"/bucket/sub/{name}", data)
    assert read_all("memory://bucket") == {f"sub/{name}": data for name, data in pictures.items()}
    assert list(read_all("memory://bucket/sub/t*.png")) == ["three.png", "two.png"]
    with pytest.raises(InputError, match="no such folder"):
        list(list_sources("memory://nothing"))
    with pytest.raises(InputError, match="nosuch"):
        list(list_sources("nosuch://bucket"))


@pytest.mark.parametrize("name", ["../up.png", "/etc/up.png", "a\nb.png", "a/../../b.png", "bad\udcff.png"])
def test_names_that_lead_elsewhere_are_sources_of_trouble(tmp_path, name):
    source = checked(Source(name, "x"))
    assert source.trouble
    assert ".." not in source.name
    assert not source.name.startswith("/")
    source.name.encode()
    with pytest.raises(ImageError, match="rename it"):
        Fetcher().read(source)


def test_hostile_members_are_reported_and_the_rest_is_edited(home, filled, tmp_path, pictures):
    shard(tmp_path / "part.tar", {"../../up.png": pictures["one.png"], "two.png": pictures["two.png"]})
    run = applied(home, tmp_path / "out", images=str(tmp_path / "part.tar"), strengths=(0.0,))
    assert counts(run) == (2, 1, 0, 1)
    assert [path.name[:5] for path in tmp_path.rglob("*__*")] == ["two__"]


def test_the_spool_gives_back_what_it_was_told(tmp_path):
    names = ["a.png", "a.jpg", "b.png", "c/d.png", "a.png.webp"]
    with Spool(tmp_path) as spool:
        assert spool.take((Source(name, name) for name in [*names, "a.png"]), limit=9) == 5
        chunks = list(spool.chunks(2))
        assert [len(chunk) for chunk in chunks] == [2, 2, 1]
        stems = {source.name: stem for chunk in chunks for source, stem in chunk}
        assert stems == {
            "a.png": "a.png",
            "a.jpg": "a.jpg",
            "b.png": "b",
            "c/d.png": "c/d",
            "a.png.webp": "a.png.webp",
        }


def test_from_url_to_url(home, filled, memory, pictures):
    for name, data in pictures.items():
        memory.pipe_file(f"/in/{name}", data)
    run = applied(home, "memory://out/here", images="memory://in", strengths=(0.0, 2.0))
    assert counts(run) == (6, 6, 0, 0)
    lines = [json.loads(line) for line in memory.cat_file("/out/here/manifest.jsonl").splitlines()]
    assert len(lines) == 6
    for line in lines:
        assert bytes_id(memory.cat_file(f"/out/here/{line['output']}")) == line["checksum"]
    table = pq.read_table(io.BytesIO(memory.cat_file("/out/here/manifest.parquet")))
    assert table["output"].to_pylist() == sorted(line["output"] for line in lines)
    memory.rm(f"/out/here/{lines[0]['output']}")
    assert counts(applied(home, "memory://out/here", images="memory://in", strengths=(0.0, 2.0))) == (
        6,
        1,
        5,
        0,
    )
    for path in (home.root / "outputs").iterdir():
        path.unlink()  # as from another machine: the manifest is fetched
    assert counts(applied(home, "memory://out/here", images="memory://in", strengths=(0.0, 2.0))) == (
        6,
        0,
        6,
        0,
    )
    assert filled.verify() == []


def test_a_url_of_no_kind(home, filled, photos):
    with pytest.raises(InputError, match="nosuch"):
        applied(home, "nosuch://bucket", images=photos)
