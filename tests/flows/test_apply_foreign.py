"""What lies in the output folder already and is somebody else's: it stays as it is, byte by byte."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.apply.stream import apply_chunk
from loco.errors import InputError
from tests.flows.helpers import applied, counts, first, leftovers, picture, save, state

THEIRS = b'{"file_name": "a.png", "text": "a face"}\n{"file_name": "b.png", "text": "another"}'


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate("abc"):
        save(tmp_path / "images" / f"{name}.png", picture(number))
    return tmp_path / "images"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def outputs(out):
    return sorted(path for path in out.rglob("*__*") if path.is_file())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("manifest.jsonl", THEIRS),
        ("manifest.jsonl", b"not even JSON"),
        ("manifest.jsonl", b"\xff\xfe\x00"),
        ("manifest.jsonl", b'{"cause": "flood"}'),  # whole, without a newline
        ("manifest.jsonl", b'{"id": 1, "output": ["x"], "checksum": {}}\n'),
        ("manifest.parquet", b"not even Parquet"),
    ],
)
def test_a_manifest_of_somebody_else_is_refused_before_any_work(
    home, filled, images, out, loco, no_network, name, data
):
    (out / name).write_bytes(data)
    before = state(out / name)
    ask = ("apply", "--direction", f"{first(home).id}:0", "--images", images, "--out", out)
    refused = loco(*ask, code=2)
    assert f"{out / name} is somebody else's" in refused.err
    assert "--manifest NAME" in refused.err
    assert (out / name).read_bytes() == data
    assert state(out / name) == before
    assert sorted(out.iterdir()) == [out / name]
    assert [run.kind for run in filled.runs()] == ["discover"]
    loco(*ask, "--manifest", "edits")
    assert len(outputs(out)) == len(lines(out / "edits.jsonl")) == 3
    assert pq.read_metadata(out / "edits.parquet").num_rows == 3
    assert (out / name).read_bytes() == data
    again = loco("--json", *ask, "--manifest", "edits")
    assert again.json[-1]["counts"]["skipped"] == 3


def test_a_table_of_somebody_else_is_refused(home, filled, images, out, no_network):
    pq.write_table(pa.table({"file_name": ["a.png"]}), out / "manifest.parquet")
    data = (out / "manifest.parquet").read_bytes()
    with pytest.raises(InputError, match="it has other columns than ours"):
        applied(home, out, images=images, strengths=(0.0,))
    assert (out / "manifest.parquet").read_bytes() == data


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("theirs.jsonl")])
def test_a_manifest_that_is_no_file_is_refused(home, filled, images, out, make):
    make(out / "manifest.jsonl")
    with pytest.raises(InputError, match="no regular file"):
        applied(home, out, images=images, strengths=(0.0,))
    assert not (out / "theirs.jsonl").exists()


def test_foreign_lines_among_ours_stay_byte_by_byte(home, filled, images, out):
    applied(home, out, images=images, strengths=(0.0,))
    manifest = out / "manifest.jsonl"
    for theirs in (b'{"mine": 1}\n\xff not JSON\n\n', b'{"no newline": true}'):
        manifest.write_bytes(manifest.read_bytes() + theirs)
        os.truncate(outputs(out)[0], 5)  # so that a line of ours is superseded
        run = applied(home, out, images=images, strengths=(0.0,))
        assert counts(run) == (3, 1, 2, 0)
        assert theirs in manifest.read_bytes()
    kept = manifest.read_bytes()
    assert kept.startswith(b'{"mine": 1}\n\xff not JSON\n\n{"no newline": true}\n')
    assert kept.count(b"\n") == 7
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 0, 3, 0)
    assert manifest.read_bytes() == kept


def test_an_image_of_somebody_else_is_not_written_over(home, filled, images, out, words):
    title = f"patch-{first(home).id[:8]}"
    theirs = save(out / f"a__{title}__+2.png", picture(99))
    link = out / f"b__{title}__+2.png"
    link.symlink_to("elsewhere.png")
    data = theirs.read_bytes()
    for _ in range(2):  # the failure's own line vouches for nothing
        run = applied(home, out, images=images, strengths=(2.0,), watch=words)
        assert run.counts["failed"] == 2
        assert theirs.read_bytes() == data
        assert link.is_symlink()
        assert not (out / "elsewhere.png").exists()
    assert f"{theirs} is there, and no manifest says that it is ours: it stays as it is" in words.said[0]
    assert leftovers(out) == []


def test_an_image_of_ours_without_its_line_is_made_again(home, filled, images, out, monkeypatch):
    """As after a kill between the image and its line: another run had noted the name."""
    from flows.outputs.outputs import Outputs

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Outputs, "log", killed)
        with pytest.raises(KeyboardInterrupt):
            applied(home, out, images=images, strengths=(2.0,))
    left = outputs(out)
    assert left
    left[0].write_bytes(b"something else, so that equal bytes are not what saves it")
    assert counts(applied(home, out, images=images, strengths=(2.0,))) == (3, 3, 0, 0)
    assert list((home.root / "outputs").iterdir()) == []


def test_a_deleted_manifest_is_written_again_for_equal_bytes(home, filled, images, out):
    applied(home, out, images=images, strengths=(0.0,))
    (out / "manifest.jsonl").unlink()
    before = state(*outputs(out))
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 3, 0, 0)
    assert state(*before) == before


def test_an_output_that_failed_anew_is_still_ours(home, filled, images, out):
    applied(home, out, images=images, strengths=(2.0,))
    sound = (images / "a.png").read_bytes()
    (images / "a.png").write_bytes(b"")
    assert counts(applied(home, out, images=images, strengths=(2.0,), steps=3)) == (3, 2, 0, 1)
    (images / "a.png").write_bytes(sound)
    assert counts(applied(home, out, images=images, strengths=(2.0,), steps=4)) == (3, 3, 0, 0)


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", "x" * 200])
def test_a_manifests_name_is_a_plain_one(home, filled, images, out, name):
    with pytest.raises(InputError, match="--manifest"):
        applied(home, out, images=images, manifest=name)


def test_under_a_url_too(home, filled, images):
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe_file("/theirs/manifest.jsonl", THEIRS)
    title = f"patch-{first(home).id[:8]}"
    files.pipe_file(f"/theirs/a__{title}__+0.png", b"theirs")
    with pytest.raises(InputError, match="--manifest NAME"):
        applied(home, "memory://theirs", images=images, strengths=(0.0,))
    run = applied(home, "memory://theirs", images=images, strengths=(0.0,), manifest="ours", work=apply_chunk)
    assert counts(run) == (3, 2, 0, 1)
    assert files.cat_file("/theirs/manifest.jsonl") == THEIRS
    assert files.cat_file(f"/theirs/a__{title}__+0.png") == b"theirs"
    assert files.cat_file("/theirs/ours.jsonl").count(b"\n") == 3
    files.rm("/theirs", recursive=True)
