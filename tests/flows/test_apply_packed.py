"""Edited images as members of shards: tar and Parquet, one shard for each that is read."""

import io
import json
import tarfile
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from flows.engine.options import Shard
from flows.inputs.places import Source
from flows.outputs.forms import Form, form_of
from flows.outputs.spool import Spool
from loco.errors import InputError, StorageError
from loco.ids import bytes_id
from loco.images import decode, encode
from registry.registry import Registry
from tests.flows.helpers import applied, counts, leftovers, picture, state


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def numbered(first_one, count):
    return {f"{k:04d}.png": encode(picture(k), "png") for k in range(first_one, first_one + count)}


@pytest.fixture
def shards(tmp_path):
    """Two tars of five and three images."""
    tar(tmp_path / "in" / "a-000.tar", numbered(0, 5))
    tar(tmp_path / "in" / "sub" / "b.c.tar", numbered(5, 3))
    return tmp_path / "in"


def members(path):
    """Name -> bytes, as anybody reads it."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path)["image"].to_pylist()
        assert len({one["path"] for one in rows}) == len(rows)
        return {one["path"]: one["bytes"] for one in rows}
    with tarfile.open(path, "r:") as file:
        names = file.getnames()
        assert len(set(names)) == len(names)
        return {one.name: file.extractfile(one).read() for one in file}


def held(out, ending):
    return {
        path.relative_to(out).as_posix(): members(path)
        for path in sorted(out.rglob(f"*.{ending}"))
        if path.name != "manifest.parquet"
    }


def lines(out, name="manifest.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def check(out, ending, folder=None, manifest="manifest"):
    """Shards, manifest and its table say the same; nothing is left over."""
    found = held(out, ending)
    told = [one for one in lines(out, f"{manifest}.jsonl") if one["checksum"]]
    assert sorted((one["shard"], one["member"]) for one in told) == sorted(
        (shard, name) for shard, inside in found.items() for name in inside
    )
    for one in told:
        assert bytes_id(found[one["shard"]][one["member"]]) == one["checksum"]
        assert one["output"] == f"{one['shard']}:{one['member']}"
    table = pq.read_table(out / f"{manifest}.parquet").to_pylist()
    assert sorted((one["shard"], one["member"]) for one in table if one["checksum"]) == sorted(
        (one["shard"], one["member"]) for one in told
    )
    assert leftovers(out) == []
    assert not list(out.glob(".*staged"))
    return found


@pytest.mark.parametrize(("format", "ending"), [("webdataset", "tar"), ("parquet", "parquet")])
def test_one_shard_for_each_that_is_read_with_its_name_and_every_edit_a_member(
    home, filled, tmp_path, shards, format, ending
):
    out, single = tmp_path / "out", tmp_path / "single"
    run = applied(home, out, images=shards, format=format, strengths=(-2.0, 0.5))
    assert counts(run) == (16, 16, 0, 0)
    found = check(out, ending)
    assert {name: len(inside) for name, inside in found.items()} == {
        f"a-000.{ending}": 10,
        f"sub/b.c.{ending}": 6,
    }
    half = "0%2E5" if ending == "tar" else "0.5"
    assert any(
        name.startswith("0000__patch-") and name.endswith(f"__+{half}.png")
        for name in found[f"a-000.{ending}"]
    )
    # The same bytes, metadata in them too, as in single files.
    applied(home, single, images=shards, strengths=(-2.0, 0.5))
    whole = {path.name: path.read_bytes() for path in single.rglob("*.png")}
    assert {
        name.replace("%2E", "."): data for inside in found.values() for name, data in inside.items()
    } == whole
    assert Registry(home).verify() == []


def test_the_same_bytes_of_a_shard_however_it_came_to_be(home, filled, tmp_path, shards):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    applied(home, one, images=shards, format="webdataset")
    applied(home, two, images=shards, format="webdataset", strengths=(2.0,))
    applied(home, two, images=shards, format="webdataset", strengths=(-2.0,))  # added to what is there
    for part in (2, 1, 3):
        applied(home, three, images=shards, format="webdataset", shard=Shard(part, 3))
    texts = [{path.name: path.read_bytes() for path in out.rglob("*.tar")} for out in (one, two, three)]
    assert texts[0] == texts[1] == texts[2]
    for out in (one, two, three):
        check(out, "tar")


def test_single_images_go_to_one_file_or_to_shards_of_a_bounded_size(
    home, filled, photos, tmp_path, monkeypatch
):
    out = tmp_path / "there"
    run = applied(home, out / "edited.tar", dataset="photos", strengths=(2.0,))
    assert counts(run) == (6, 6, 0, 0)
    assert len(check(out, "tar", manifest="edited.manifest")["edited.tar"]) == 6
    assert sorted(path.name for path in out.iterdir()) == [
        "edited.manifest.jsonl",
        "edited.manifest.parquet",
        "edited.tar",
    ]
    assert counts(applied(home, out / "edited.tar", dataset="photos", strengths=(2.0,))) == (6, 0, 6, 0)
    applied(home, tmp_path / "other" / "edited.parquet", dataset="photos", strengths=(2.0,), format="jpg")
    [jpegs] = (
        held(tmp_path / "other", "parquet").values()
        if False
        else [members(tmp_path / "other" / "edited.parquet")]
    )
    assert {name[-4:] for name in jpegs} == {".jpg"}
    monkeypatch.setattr("flows.outputs.forms.IMAGES", 4)
    applied(home, tmp_path / "many", dataset="photos", strengths=(2.0,), format="webdataset")
    assert {name: len(one) for name, one in check(tmp_path / "many", "tar").items()} == {
        "images-00000.tar": 4,
        "images-00001.tar": 2,
    }


def test_what_is_there_is_not_made_again_and_what_is_damaged_is(home, filled, tmp_path, shards, monkeypatch):
    out = tmp_path / "out"
    applied(home, out, images=shards, format="webdataset")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    with monkeypatch.context() as patched:
        patched.setattr("flows.device.models.open_fast", None)  # opening a model is an error
        assert counts(applied(home, out, images=shards, format="webdataset")) == (16, 0, 16, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == before
    kept = members(out / "a-000.tar")
    damaged = bytearray((out / "a-000.tar").read_bytes())
    where = damaged.index(kept[next(iter(kept))][:64])
    damaged[where + 60] ^= 1
    (out / "a-000.tar").write_bytes(damaged)
    [problem] = Registry(home).verify()
    assert problem.subject == str(out / "a-000.tar:") + next(iter(kept))
    assert counts(applied(home, out, images=shards, format="webdataset")) == (16, 1, 15, 0)
    assert members(out / "a-000.tar") == kept
    assert Registry(home).verify() == []
    (out / "sub" / "b.c.tar").unlink()
    assert counts(applied(home, out, images=shards, format="webdataset")) == (16, 6, 10, 0)
    check(out, "tar")


def test_what_fails_is_told_of_and_the_shard_has_the_rest(home, filled, tmp_path):
    good = numbered(0, 3)
    path = tar(tmp_path / "a.tar", good | {"bad.png": b"no image"})
    out = tmp_path / "out"
    run = applied(home, out, images=path, format="webdataset")
    assert counts(run) == (8, 6, 0, 2)
    assert len(check(out, "tar")["a.tar"]) == 6
    assert {one["member"][:5] for one in lines(out) if one["status"] == "failed"} == {"bad__"}
    tar(path, good | {"bad.png": encode(picture(9), "png")})
    assert counts(applied(home, out, images=path, format="webdataset")) == (8, 2, 6, 0)
    assert len(check(out, "tar")["a.tar"]) == 8


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_hostile_names_lead_nowhere(home, filled, tmp_path, format):
    """Of members and of shards: out of the folder, absolute, of several lines, one twice, with dots, hidden, long."""
    data = encode(picture(1), "png")
    names = [
        "../../out.png",
        "/abs.png",
        "a/../../b.png",
        "e\\..\\c.png",
        "d.e.f.png",
        "x\ny.png",
        f"{'n' * 300}.png",
    ]
    names += ["w:z.png", "masksx/k.png", "100%.png"]
    with tarfile.open(tmp_path / "in.tar", "w") as file:
        for number, name in enumerate([*names, "twice.png", "twice.png"]):
            one = encode(picture(number), "png")
            member = tarfile.TarInfo(name)
            member.size = len(one)
            file.addfile(member, io.BytesIO(one))
    (tmp_path / "in.tar").rename(tmp_path / "s:t.tar")
    out = tmp_path / "deep" / "er" / "out"
    run = applied(home, out, images=tmp_path / "s:t.tar", strengths=(2.0,), format=format)
    assert run.counts["done"] + run.counts["failed"] == 12
    assert run.counts["failed"] == 3, data  # those that lead out, and that of several lines
    [inside] = check(out, "tar" if format == "webdataset" else "parquet").values()
    for name in inside:
        path = Path(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        if format == "webdataset":
            assert "\\" not in name
            assert path.name.count(".") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "s:t.tar", "home"} & {
        path.name for path in tmp_path.iterdir()
    }
    assert {path.name for path in (tmp_path / "deep").rglob("*")} == {
        "er",
        "out",
        "manifest.jsonl",
        "manifest.parquet",
        f"s%3At.{'tar' if format == 'webdataset' else 'parquet'}",
    }
    assert counts(applied(home, out, images=tmp_path / "s:t.tar", strengths=(2.0,), format=format))[1:3] == (
        0,
        9,
    )


def test_a_shard_of_somebody_else_stays_as_it_is(home, filled, tmp_path, shards):
    out = tmp_path / "out"
    theirs = tar(out / "a-000.tar", {"x.png": b"theirs"}).read_bytes()
    with pytest.raises(StorageError, match=r"a-000\.tar is there, and no manifest says that it is ours"):
        applied(home, out, images=shards, format="webdataset")
    assert (out / "a-000.tar").read_bytes() == theirs
    with pytest.raises(StorageError, match="is there, and no manifest"):
        applied(home, shards, images=f"{shards}/*.tar", format="webdataset")
    assert len(members(shards / "a-000.tar")) == 5


def test_its_own_shard_is_no_input(home, filled, tmp_path):
    """Of a folder that shards are read from and the one file is written to."""
    tar(tmp_path / "in" / "a.tar", numbered(0, 2))
    for _ in range(2):
        run = applied(home, tmp_path / "in" / "edited.tar", images=tmp_path / "in", strengths=(2.0,))
        assert run.counts["planned"] == 2
    assert len(members(tmp_path / "in" / "edited.tar")) == 2


def test_what_does_not_go_together_is_refused(tmp_path):
    assert form_of("png", "out") == Form()
    assert form_of("webdataset:jpg", "out") == Form("jpg", "tar")
    assert form_of("webp", "x/edited.parquet") == Form("webp", "parquet", "edited")
    (tmp_path / "folder.tar").mkdir()
    assert form_of("png", tmp_path / "folder.tar") == Form()
    with pytest.raises(
        InputError, match=r"edited\.tar ends in \.tar, --format parquet gives \.parquet files"
    ):
        form_of("parquet", "edited.tar")
    for text in ("webdataset:gif", "png:jpg", "zip"):
        with pytest.raises(InputError, match="format must be"):
            form_of(text, "out")


def test_parts_take_whole_shards_where_there_are_enough(tmp_path):
    with Spool(None, Form("png", "tar")) as spool:
        sizes = {"a": 3, "b": 5, "c": 2}
        spool.take(
            Source(f"{name}/{k}.png", f"{name}.tar", "tar", k, inside=name)
            for name, size in sizes.items()
            for k in range(size)
        )
        parts = [spool.part(10, Shard(k, 3)) for k in (1, 2, 3)]
        assert [(one.start, one.stop) for one in parts] == [(0, 3), (3, 8), (8, 10)]
        assert [spool.part(10, Shard(k, 4)) for k in (1, 4)] == [Shard(1, 4).block(10), Shard(4, 4).block(10)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_a_webdataset_reads_it(home, filled, tmp_path, shards):
    wds = pytest.importorskip("webdataset")
    applied(home, tmp_path / "out", images=shards, format="webdataset", strengths=(0.25, 2.0))
    inside = members(tmp_path / "out" / "a-000.tar")
    samples = list(wds.WebDataset(str(tmp_path / "out" / "a-000.tar"), shardshuffle=False))
    assert {f"{one['__key__']}.png": one["png"] for one in samples} == inside


@pytest.mark.parametrize(("format", "ending"), [("webdataset", "tar"), ("parquet", "parquet")])
def test_hugging_face_datasets_reads_it(home, filled, tmp_path, shards, format, ending, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    applied(home, tmp_path / "out", images=shards, format=format, strengths=(0.25, 2.0))
    path = tmp_path / "out" / f"a-000.{ending}"
    read = datasets.load_dataset(
        format, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    found = [one["png" if ending == "tar" else "image"] for one in read]
    expected = [decode(data, name).convert("RGB").tobytes() for name, data in members(path).items()]
    assert [one.convert("RGB").tobytes() for one in found] == expected


def test_shards_at_a_url_are_whole_and_the_home_keeps_what_is_not_complete(home, filled, tmp_path, shards):
    files = fsspec.filesystem("memory")
    try:
        run = applied(home, "memory://bucket/out", images=shards, format="webdataset", strengths=(2.0,))
        assert counts(run) == (8, 8, 0, 0)
        inside = read_url(files, "/bucket/out/a-000.tar")
        assert len(inside) == 5
        assert len(read_url(files, "/bucket/out/sub/b.c.tar")) == 3
        assert counts(
            applied(home, "memory://bucket/out", images=shards, format="webdataset", strengths=(2.0,))
        ) == (
            8,
            0,
            8,
            0,
        )
        applied(home, "memory://bucket/out", images=shards, format="webdataset", strengths=(3.0,))
        assert len(read_url(files, "/bucket/out/a-000.tar")) == 10
        assert inside.items() <= read_url(files, "/bucket/out/a-000.tar").items()
        assert not list((home.root / "outputs").glob("*.staged"))
        assert Registry(home).verify() == []
    finally:
        files.rm("/bucket", recursive=True)


def read_url(files, path):
    with tarfile.open(fileobj=io.BytesIO(files.cat_file(path)), mode="r:") as file:
        return {one.name: file.extractfile(one).read() for one in file}


def test_what_a_stopped_run_staged_is_a_part_of_the_home_or_hidden_and_goes_on(
    home, filled, tmp_path, shards
):
    """The budget of failures ends the run in the middle of a shard, which is not to be seen then."""
    tar(shards / "a-000.tar", {"0000.png": b"broken"} | numbered(1, 40))
    for out, files in ((tmp_path / "out", None), ("memory://stopped/out", fsspec.filesystem("memory"))):
        ask = {"images": shards, "format": "webdataset", "strengths": (2.0,), "max_failures": "0"}
        assert applied(home, out, **ask).status == "stopped"
        staged = out / ".staged" if files is None else next((home.root / "outputs").glob("*.staged"))
        assert len(list(staged.iterdir())) > 0
        assert not list(out.glob("*.tar")) if files is None else not files.glob("/stopped/out/*.tar")
        assert Registry(home).verify() == []
        run = applied(home, out, **ask | {"max_failures": None})
        assert (run.status, run.counts["failed"]) == ("partial", 1)
        assert run.counts["skipped"] > 0
        assert not staged.exists()


def test_a_shard_that_was_packed_before_a_kill_is_not_written_again(
    home, filled, tmp_path, shards, monkeypatch
):
    """The kill came after its name was given and before what was staged was deleted."""
    out = tmp_path / "out"
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        applied(home, out, images=shards, format="webdataset")
    assert len(list((out / ".staged").iterdir())) == 16
    before = state(*out.rglob("*.tar"))
    assert counts(applied(home, out, images=shards, format="webdataset")) == (16, 0, 16, 0)
    assert state(*out.rglob("*.tar")) == before
    check(out, "tar")


def test_damaged_and_hostile_shards_are_told_by_verify(home, filled, tmp_path, shards):
    """Cut off, no archive, with a member of a negative size that leads back to itself, another table, a folder."""
    for number, ending in enumerate(("tar", "tar", "tar", "parquet", "parquet")):
        out = tmp_path / str(number)
        format = "webdataset" if ending == "tar" else "parquet"
        applied(home, out, images=shards, format=format, strengths=(2.0,))
        path = out / f"a-000.{ending}"
        backwards = bytearray(path.read_bytes())
        match number:
            case 0:
                path.write_bytes(backwards[:700])
            case 1 | 3:
                path.write_bytes(b"neither" * 200)
            case 2:
                backwards[124:136] = b"\xff" * 10 + b"\xfc\x00"  # base 256: -1024
                path.write_bytes(checked_header(backwards))
            case 4:
                pq.write_table(pq.read_table(path).rename_columns(["picture"]), path)
        found = [one for one in Registry(home).verify() if one.subject.startswith(str(out))]
        assert len(found) == 5
        assert all("a-000" in one.subject and "the output image" in one.trouble for one in found)


def checked_header(data):
    """With the checksum that a tar's first header must have (POSIX ustar)."""
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)
