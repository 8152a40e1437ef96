"""Hashes of weights: read once, remembered by what a change cannot leave as it was."""

import json
import os

import pytest

from loco.ids import file_id
from loco.models import hashes


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCO_HASHES", str(tmp_path / "hashes"))
    monkeypatch.setattr(hashes, "LEAST", 10)
    return tmp_path / "hashes"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read whole."""
    seen = []
    monkeypatch.setattr(hashes, "file_id", lambda path: seen.append(path.name) or file_id(path))
    return seen


def old(path, data):
    """A file that was written a minute ago."""
    path.write_bytes(data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def test_a_file_is_read_once(tmp_path, memory, reads):
    path = old(tmp_path / "weights", b"1" * 100)
    assert hashes.hash_of(path) == hashes.hash_of(path) == file_id(path)
    assert reads == ["weights"]


def test_other_bytes_of_the_same_length_and_time_are_noticed(tmp_path, memory):
    """Somebody put the time back: the inode's own time of change cannot be put back."""
    path = old(tmp_path / "weights", b"1" * 100)
    before = hashes.hash_of(path)
    old(path, b"2" * 100)
    assert hashes.hash_of(path) == file_id(path) != before


def test_another_file_in_its_place_is_noticed(tmp_path, memory):
    path = old(tmp_path / "weights", b"1" * 100)
    hashes.hash_of(path)
    old(tmp_path / "other", b"3" * 100).replace(path)
    assert hashes.hash_of(path) == file_id(path)


def test_small_and_young_files_are_read_anew(tmp_path, memory, reads):
    small, young = old(tmp_path / "small", b"1"), tmp_path / "young"
    young.write_bytes(b"1" * 100)
    for path in (small, young, small, young):
        hashes.hash_of(path)
    assert reads == ["small", "young", "small", "young"]
    assert not memory.exists()


@pytest.mark.parametrize("note", [b"", b"{}", b'{"sha256": "0"}', b"[1]", b"\xff"])
def test_a_memory_that_is_damaged_is_not_believed(tmp_path, memory, note):
    path = old(tmp_path / "weights", b"1" * 100)
    hashes.hash_of(path)
    [held] = memory.iterdir()
    told = json.loads(held.read_text())
    held.write_bytes(note)
    assert hashes.hash_of(path) == file_id(path)
    held.write_text(json.dumps(told | {"sha256": "../../x"}))
    assert hashes.hash_of(path) == file_id(path)


def test_where_nothing_can_be_kept_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "LEAST", 10)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LOCO_HASHES", str(tmp_path / "file"))
    path = old(tmp_path / "weights", b"1" * 100)
    assert hashes.hash_of(path) == file_id(path)


def test_an_opened_model_is_hashed_from_memory_the_second_time(tmp_path, memory, reads):
    from loco.models.card import read_card
    from tests.toys import save_pipeline

    folder = save_pipeline(tmp_path / "model")
    for path in folder.glob("*/*.safetensors"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert read_card(folder).id == read_card(folder).id
    assert reads == ["diffusion_pytorch_model.safetensors"]
