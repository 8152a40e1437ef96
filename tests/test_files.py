"""Files and folders that appear whole or not at all; what is being made is held, what the dead leave is swept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loco import files
from loco.errors import InputError, StorageError

MAKE = """
import sys, time
from pathlib import Path
from loco import files
place = Path(sys.argv[2])
with getattr(files, sys.argv[1])(place) as made:
    if isinstance(made, Path):
        (made / "inside").write_bytes(b"half")
    else:
        made.write(b"half")
        made.flush()
    print("making", flush=True)
    sys.stdin.readline()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


KINDS = ("writing", "making", "scratch", "filling")


@pytest.fixture(params=KINDS)
def maker(request, tmp_path):
    """A process that is in the middle of making something in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE, request.param, str(tmp_path / "sub" / "made")],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "making\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_living_process_makes_is_left_alone_and_a_dead_ones_is_swept(maker, tmp_path):
    [partial] = files.partials(tmp_path)
    assert files.leftovers(tmp_path) == []
    assert not files.discard(partial)
    files.sweep(tmp_path)
    assert partial.exists()
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert files.leftovers(tmp_path) == [partial]
    files.sweep(tmp_path)
    assert list(files.partials(tmp_path)) == []


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "file"
    files.write_atomic(path, b"old")
    with pytest.raises(TypeError), files.writing(path) as file:
        file.writelines([b"new", None])
    with pytest.raises(ValueError, match="refused"):
        files.write_atomic(path, b"new", check=lambda _: (_ for _ in ()).throw(ValueError("refused")))
    assert (path.read_bytes(), names(path.parent)) == (b"old", ["file"])


def test_a_folder_is_there_whole_or_not_at_all_and_takes_nobodys_place(tmp_path):
    with pytest.raises(TypeError), files.making(tmp_path / "made") as partial:
        [(partial / name).write_bytes(b"1") for name in ("one", None)]
    assert names(tmp_path) == []
    with files.making(tmp_path / "made") as partial:
        (partial / "one").write_bytes(b"1")
    with pytest.raises(InputError, match="made exists already"), files.making(tmp_path / "made") as partial:
        (partial / "two").write_bytes(b"2")
    assert (names(tmp_path), names(tmp_path / "made")) == (["made"], ["one"])


def test_filling_keeps_what_else_is_in_the_folder(tmp_path):
    (tmp_path / "state").write_bytes(b"kept")
    (tmp_path / "index").write_bytes(b"old")
    with files.filling(tmp_path) as partial:
        (partial / "part").mkdir()
        (partial / "part" / "weights").write_bytes(b"new")
        (partial / "index").write_bytes(b"new")
        assert (tmp_path / "index").read_bytes() == b"old"
    found = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found == {"state": b"kept", "index": b"new", "part/weights": b"new"}


@pytest.mark.parametrize("name", [".catalogue.duckdb.{}.partial", ".catalogue.duckdb.{}.partial.wal"])
def test_leftovers_of_earlier_programs_are_known(tmp_path, name):
    path = tmp_path / name.format("0" * 32)
    path.write_bytes(b"")
    assert files.leftovers(tmp_path) == [path]


def test_a_database_that_an_earlier_program_is_making_is_held_by_its_own_kind_of_lock(tmp_path):
    path = tmp_path / f".catalogue.duckdb.{'0' * 32}.partial"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"c = __import__('duckdb').connect({str(path)!r}); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "1\n"
        assert files.leftovers(tmp_path) == []
    finally:
        process.kill()
        process.communicate()
    assert path in files.leftovers(tmp_path)


def test_links_and_pipes_named_like_leftovers_are_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    (tmp_path / f".{'a' * 32}.partial").symlink_to(target)
    os.mkfifo(tmp_path / f".{'b' * 32}.partial")
    files.sweep(tmp_path)
    assert target.read_bytes() == b"kept"


def test_a_full_disk_or_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "way").write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"cannot write .*way"),
        files.making(tmp_path / "way" / "made"),
    ):
        pass
    with pytest.raises(StorageError, match=r"cannot write .*way"):
        files.write_atomic(tmp_path / "way" / "made", b"")


def test_every_file_of_the_project_is_made_by_this_one_writer():
    """Who writes beside and renames by hand is not swept."""
    root = Path(__file__).parents[1]
    for floor in ("loco", "registry", "flows", "cli"):
        for path in (root / floor).rglob("*.py"):
            if path == root / "loco" / "files.py":
                continue
            text = path.read_text()
            for sign in (
                '.partial"',
                "mkstemp",
                "os.replace",
                "NamedTemporaryFile",
                "mkdtemp",
                "TemporaryDirectory",
            ):
                assert sign not in text, f"{path} has {sign}"
