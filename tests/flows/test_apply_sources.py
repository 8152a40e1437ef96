"""Images from patterns, lists, Parquet files, tar shards and URLs; results to URLs."""

import codecs
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.inputs.places import Source, checked, place_of
from flows.inputs.sources import Fetcher, list_sources
from flows.outputs.spool import Spool
from loco.decoding import decode
from loco.errors import ImageError, InputError
from loco.files import leftovers, sweep
from loco.ids import bytes_id
from loco.images import encode
from registry.registry import Registry
from tests.flows.helpers import REPOSITORY, applied, counts, first, picture, save


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
    assert [one.name for one in sources] == ["one.png", "three.png", "else/four.png", "missing.png"]
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
    [torn] = [one for one in list_sources(str(tmp_path / "*.tar")) if one.trouble]
    assert torn.name == "torn"


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


def test_the_spool_gives_back_what_it_was_told(home):
    names = ["a.png", "a.jpg", "b.png", "c/d.png", "a.png.webp"]
    with Spool(home.spool) as spool:
        assert spool.take((Source(name, name) for name in [*names, "a.png"]), limit=9) == 5
        chunks = list(spool.chunks(range(5), lambda _: 2))
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


def test_what_exists_comes_before_what_fits_and_is_called_what_it_is(tmp_path, pictures):
    for folder in ("set [1]", "a%20b", "a b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.png").write_bytes(pictures["one.png"])
    for where in (tmp_path / "set [1]", tmp_path / "set [1]" / "one.png"):
        assert read_all(where) == {"one.png": pictures["one.png"]}
    assert list(read_all(tmp_path / "set [[]1]" / "*.png")) == ["set [1]/one.png"]
    assert read_all(f"file://{tmp_path}/set%20%5B1%5D") == {"one.png": pictures["one.png"]}
    assert read_all(f"file://localhost{tmp_path}/a%20b") == {"one.png": pictures["one.png"]}
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "x.docx").write_bytes(b"PK")
    os.mkfifo(tmp_path / "pipe.png")
    for name, said in (
        ("x.tar.gz", "a compressed archive; unpack it"),
        ("x.docx", "a file of another kind; images are taken from a folder, an image, a pattern"),
        ("nothing", "no such file or folder; expected a folder, an image, a pattern"),
        ("no/*.png", "nothing fits this pattern, for there is no folder"),
    ):
        with pytest.raises(InputError, match=said):
            list(list_sources(str(tmp_path / name)))
    [pipe] = list_sources(str(tmp_path / "pipe.png"))
    with pytest.raises(ImageError, match="not a regular file"):
        Fetcher().read(pipe)


def test_a_folder_of_parquet_files_and_archives_is_read_where_it_has_no_images(tmp_path, pictures):
    folder = tmp_path / "hf"
    folder.mkdir()
    pq.write_table(pa.table({"image": list(pictures.values())}), folder / "train.parquet")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for name, data in pictures.items():
            archive.writestr(f"sub/{name}", data)
            archive.writestr(f"masks/{name}", b"no image")
            archive.writestr(f"__MACOSX/._{name}", b"nor this")
    found = read_all(folder)
    assert sorted(found) == sorted(
        [f"more/sub/{name}" for name in pictures] + [f"train/{k:08d}.png" for k in range(3)]
    )
    (folder / "a.png").write_bytes(pictures["one.png"])
    said = []
    assert [one.name for one in list_sources(str(folder), say=said.append)] == ["a.png"]
    assert "2 files that hold images (more.zip ...) beside the images are not read" in said[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_as_other_programs_write_them(tmp_path, encoding, end):
    (tmp_path / "mine").mkdir()
    (tmp_path / "else").mkdir()
    listed = tmp_path / "mine" / "list.txt"
    text = end.join(
        ["ü.png", "../else/b.png", f"{tmp_path}/else/c.png", f"file://{tmp_path}/mine/d%20e.png", ""]
    )
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    listed.write_bytes(mark + text.encode(encoding))
    found = list(list_sources(str(listed)))
    assert [one.name for one in found] == ["ü.png", "else/b.png", "c.png", "d e.png"]
    assert [os.path.normpath(one.place) for one in found] == [
        str(tmp_path / name) for name in ("mine/ü.png", "else/b.png", "else/c.png", "mine/d e.png")
    ]
    assert all(not checked(one).trouble for one in found)


def test_tables_and_json_with_a_column_of_paths(tmp_path):
    texts = {
        "a.csv": "label,Path\n0,x.png\n1,\n2,sub/y.png\n",
        "b.csv": 'file_name;text\n"x.png";"a; b"\nsub/y.png;c\n',
        "c.tsv": "id\tfilename\n1\tx.png\n2\tsub/y.png\n",
        "d.jsonl": '{"file_name": "x.png", "text": "a"}\nnot JSON\n"sub/y.png"\n{"text": "none"}\n',
        "e.json": '["x.png", {"path": "sub/y.png"}]',
        "f.json": '{"images": [{"id": 1, "file_name": "x.png"}, {"id": 2, "file_name": "sub/y.png"}]}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found = list(list_sources(str(tmp_path / name)))
        assert [one.name for one in found if not one.trouble] == ["x.png", "sub/y.png"], name
        assert len([one for one in found if one.trouble]) == {"a.csv": 1, "d.jsonl": 2}.get(name, 0)
    (tmp_path / "g.csv").write_text("label,weight\n0,1\n")
    with pytest.raises(
        InputError, match="no column of paths; its columns are label, weight, expected one of path"
    ):
        list(list_sources(str(tmp_path / "g.csv")))


def test_urls_that_are_none_or_hold_secrets(tmp_path):
    listed = tmp_path / "list.txt"
    signed = "http://user:pass@127.0.0.1:1/b/c.png?sig=secret"
    listed.write_text(f"http://[bad/a.png\n{signed}\n{signed}2\nnosuch://x/y.png\n")
    with Spool(tmp_path / "home") as spool:
        assert spool.take(list_sources(str(listed))) == 4
        [chunk] = spool.chunks(range(4), lambda _: 10)
    assert [stem for _, stem in chunk][1:] == ["127.0.0.1/b/c.png", "127.0.0.1/b/c.png~2", "x/y"]
    for source, stem in chunk:
        with pytest.raises(ImageError) as caught:
            Fetcher().read(source)
        for text in (str(caught.value), stem, source.name, place_of(source)):
            assert "secret" not in text
            assert "pass" not in text


def test_names_are_for_people_and_places_are_what_things_are(home, filled, tmp_path, no_network):
    """The same shard name in two folders, and rows or members of one name: each image is edited, each run alike."""
    images = [encode(picture(k), "png") for k in range(4)]
    for k, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        shard(tmp_path / folder / "shard.tar", {"0.png": images[2 * k], "1.png": images[2 * k + 1]})
    pq.write_table(
        pa.table({"image": [{"bytes": data, "path": "i.png"} for data in images]}), tmp_path / "r.parquet"
    )
    with tarfile.open(tmp_path / "same.tar", "w") as file:
        for data in images:
            member = tarfile.TarInfo("i.png")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    for where in ("*/shard.tar", "r.parquet", "same.tar"):
        out = tmp_path / f"out-{where[0]}"
        for expected in ((4, 4, 0, 0), (4, 0, 4, 0)):
            run = applied(home, out, images=str(tmp_path / where), strengths=(0.0,))
            assert counts(run) == expected
        lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        assert len({line["output"] for line in lines}) == 4
        made = {line["image_id"]: (out / line["output"]).read_bytes() for line in lines}
        assert {key: decode(data, "").tobytes() for key, data in made.items()} == {
            bytes_id(data): decode(data, "").tobytes() for data in images
        }
    assert sorted(path.name.partition("__")[0] for path in out.rglob("*__*")) == [
        "i.png",
        "i.png~2",
        "i.png~3",
        "i.png~4",
    ]


def test_what_is_listed_twice_is_edited_once_and_that_is_said(home, filled, tmp_path, words, no_network):
    save(tmp_path / "a.png", picture(1))
    (tmp_path / "list.txt").write_text("a.png\na.png\n./a.png\n")
    run = applied(home, tmp_path / "out", images=str(tmp_path / "list.txt"), strengths=(0.0,), watch=words)
    assert counts(run) == (1, 1, 0, 0)
    assert words.said == [f"note: {tmp_path / 'a.png'} is listed more than once; it is edited once"] * 2


def test_a_cut_shard_costs_what_it_lost_and_no_neighbour(home, filled, tmp_path, words, no_network):
    images = {f"{k}.png": encode(picture(k, 40, 40), "png") for k in range(4)}
    for name in ("s0.tar", "s1.tar", "s2.tar"):
        shard(tmp_path / name, images)
    cut = (tmp_path / "s1.tar").read_bytes()[: len(images["0.png"]) + 4 * 512 + len(images["1.png"]) // 2]
    (tmp_path / "s1.tar").write_bytes(cut)
    run = applied(home, tmp_path / "out", images=str(tmp_path / "s*.tar"), strengths=(0.0,), watch=words)
    assert counts(run) == (11, 9, 0, 2)
    assert run.status == "partial"
    assert any("s1.tar:1.png: truncated" in text for text in words.said)
    assert any(f"{tmp_path / 's1.tar'}: cut off or damaged after 2 members" in text for text in words.said)


def test_parquet_is_lost_by_groups_of_rows_alone(tmp_path):
    data = [encode(picture(k, 30, 30), "png") for k in range(12)]
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table({"image": data}), path, row_group_size=4, compression="none", use_dictionary=False
    )
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    raw[start : start + 40] = b"\xff" * 40
    path.write_bytes(raw)
    fetcher, read, causes = Fetcher(), {}, []
    sources = list(list_sources(str(path)))
    assert len(sources) == 12
    for one in sources:
        try:
            read[one.start] = fetcher.read(one)
        except ImageError as error:
            causes.append(str(error))
    fetcher.close()
    assert len(causes) == 4
    assert all("rows of group 1 are damaged" in one for one in causes)
    assert read == {k: data[k] for k in (*range(4), *range(8, 12))}
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:500])
    found = list(list_sources(str(tmp_path / "*.parquet")))
    assert [one.name for one in found if one.trouble] == ["cut"]
    assert len(found) == 13


def test_a_pattern_over_a_folder_edits_no_masks(tmp_path, pictures):
    for place in ("a/one.png", "b/two.png", "masks/hair/one.png", "a/masks/x.png", ".thumbs/one.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(pictures["one.png"])
    assert list(read_all(tmp_path / "**/*.png")) == ["a/one.png", "b/two.png"]
    assert list(read_all(tmp_path / "*/one.png")) == ["a/one.png"]
    assert list(read_all(tmp_path / "masks/hair/*.png")) == ["one.png"]
    assert list(read_all(tmp_path / "*/masks/*.png")) == ["a/masks/x.png"]


def test_one_name_that_is_not_utf8_is_one_failed_item(home, filled, tmp_path, loco, no_network):
    folder = tmp_path / "in"
    for name in (b"a.png", b"caf\xe9.png", b"caf\xe8.png", b"z.png"):
        save(folder / os.fsdecode(name), picture(1))
    ask = ("apply", "--direction", f"{first(home).id}:0", "--images", folder, "--out", tmp_path / "out")
    for done in ("done", "skipped"):
        outcome = loco("--json", *ask, code=3)
        assert outcome.json[-1]["counts"][done] == 2
        assert outcome.json[-1]["counts"]["failed"] == 2
        assert "caf\\xe9.png: its file name is not UTF-8; rename it" in outcome.err
    assert filled.verify() == []


def test_an_image_too_large_for_the_format_is_one_failed_item(home, filled, tmp_path, words, no_network):
    save(tmp_path / "in" / "a.png", picture(1))
    save(tmp_path / "in" / "wide.png", picture(2, 16_384, 1))
    run = applied(
        home, tmp_path / "out", images=tmp_path / "in", strengths=(0.0,), format="webp", watch=words
    )
    assert counts(run) == (2, 1, 0, 1)
    assert "16384 x 1 pixels are more than a webp file can hold" in words.said[0]


def test_a_dataset_is_read_a_page_at_a_time(home, filled, tmp_path, monkeypatch, no_network):
    asked = []
    real = Registry.images

    def images(self, dataset, start, count):
        asked.append((start, count, len(dataset.images)))
        return real(self, dataset, start, count)

    monkeypatch.setattr(Registry, "images", images)
    run = applied(home, tmp_path / "out", dataset="photos", strengths=(0.0,), limit=2)
    assert counts(run) == (2, 2, 0, 0)
    assert set(asked) == {(0, 2, 0)}


def test_a_killed_run_leaves_no_spool_outside_the_home(home, tmp_path):
    script = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from flows.inputs.places import Source\n"
        "from flows.outputs.spool import Spool\n"
        "from registry.home import Home\n"
        "spool = Spool(Home(Path(sys.argv[1])).spool)\n"
        "spool.take([Source('a.png', 'a.png')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-c", script, str(home.root)]
    assert subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode == -9
    assert list(temporary.iterdir()) == []
    assert len(leftovers(home.root)) == 1
    sweep(home.root)
    assert leftovers(home.root) == []
