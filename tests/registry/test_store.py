import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.direction import Refusal
from loco.errors import Damaged, InputError, NewerFormat, StorageError
from loco.files import write_atomic
from registry.files.basis import basis_path, read_basis, read_header, vectors_of, write_basis
from registry.files.basis_bytes import FORMAT, encode
from registry.home import Home
from tests.registry.builders import make_basis, same

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
figures = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    rois=st.lists(texts, min_size=1, max_size=3, unique=True),
    kept=st.integers(0, 2),
    t=st.floats(0.01, 0.99),
    name=texts,
    cause=texts,
    gain=figures,
    provenance=st.dictionaries(texts, texts | figures, max_size=3),
)
def test_a_basis_comes_back_as_it_was(scratch, shape, rois, kept, t, name, cause, gain, provenance):
    basis = make_basis(rois=rois, shape=shape, kept=kept, t=t, image_name=name, provenance=provenance)
    directions = tuple(replace(direction, gain=gain) for direction in basis.directions)
    basis = replace(basis, directions=directions, refused=(*basis.refused, Refusal("x", 9, cause)))
    path = scratch / "one.safetensors"
    path.write_bytes(encode(basis))
    assert same(read_basis(path), basis)


def test_a_basis_lies_at_its_id_with_its_time_beside_it(home):
    basis = make_basis()
    path = write_basis(home, basis)
    assert path == home.root / "bases" / basis.id[:2] / f"{basis.id}.safetensors"
    assert {file for file in home.root.rglob("*") if file.is_file()} == {path, path.with_name("found.jsonl")}


def test_the_same_basis_is_the_same_bytes_whenever_it_is_written(home, tmp_path):
    told = [
        write_basis(Home(tmp_path / name), make_basis(), seconds).read_bytes()
        for name, seconds in (("one", 1.5), ("two", 20.0))
    ]
    assert told[0] == told[1]


def test_a_basis_of_which_all_was_refused(home):
    basis = make_basis(kept=0)
    assert basis.vectors.shape == (0, 3, 4, 5)
    again = read_basis(write_basis(home, basis))
    assert same(again, basis)
    assert len(again.refused) == 2


def test_writing_again_leaves_a_sound_file_alone(home):
    path = write_basis(home, make_basis())
    before = path.stat()
    assert write_basis(home, make_basis(salt=1)) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_writing_again_replaces_a_damaged_file(home):
    basis = make_basis()
    path = write_basis(home, basis)
    path.write_bytes(path.read_bytes()[:-1])
    write_basis(home, basis)
    assert same(read_basis(path), basis)


@pytest.fixture(scope="module")
def sound(scratch):
    return encode(make_basis(shape=(1, 2, 2), rank=1))


def _later(sound, at, byte):
    """Whether that byte in the place of the one at `at` makes the file one of a later format."""
    told = f'format\\":{FORMAT}'.encode()
    return sound[at + 1 - len(told) : at + 1] == told and byte in f"{FORMAT + 1}56789".encode()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(scratch, sound, data):
    at = data.draw(st.integers(0, len(sound) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != sound[at]))
    path = scratch / "changed.safetensors"
    path.write_bytes(sound[:at] + bytes([other]) + sound[at + 1 :])
    if _later(sound, at, other):
        return  # a later format, see test_formats.py
    with pytest.raises(
        Damaged, match=r"changed\.safetensors is damaged: .*; delete the file and run the same discover"
    ):
        read_basis(path)


def test_flipped_bits_all_over_the_file_are_noticed(scratch, sound):
    path = scratch / "flipped.safetensors"
    for at in range(0, len(sound), 3):  # the test above takes any
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        # A flip can make the format a later one: then the file is not read either.
        with pytest.raises(NewerFormat if _later(sound, at, sound[at] ^ 1) else Damaged):
            read_basis(path)


def test_every_cut_is_noticed(scratch, sound):
    path = scratch / "cut.safetensors"
    for length in range(0, len(sound), 7):
        path.write_bytes(sound[:length])
        with pytest.raises(Damaged):
            read_basis(path)
    path.write_bytes(sound + b"\0")
    with pytest.raises(Damaged):
        read_basis(path)


def test_the_header_alone_tells_the_evidence(home):
    basis = make_basis()
    header = read_header(write_basis(home, basis))
    assert header.body["id"] == basis.id
    assert header.body["recipe"]["t"] == 0.6
    assert len(header.checksum) == 64


def test_a_missing_file_says_so(scratch):
    for read in (read_basis, read_header):
        with pytest.raises(StorageError, match="is missing; run the same discover again"):
            read(scratch / "none.safetensors")


@pytest.mark.parametrize("key", ["../../../etc/passwd", "a" * 31, "A" * 32, "a" * 32 + "\n", "", "a/" * 16])
def test_only_ids_become_paths(home, key):
    with pytest.raises(InputError, match="an id is 32 characters"):
        basis_path(home, key)


def test_a_basis_that_does_not_fit_together_is_not_written(home):
    basis = make_basis()
    one, two = basis.directions
    wrong = {
        "vectors must be": {"vectors": basis.vectors.astype(np.float64)},
        "2 directions but 1 vectors": {"vectors": basis.vectors[:1]},
        "not finite": {"vectors": np.full_like(basis.vectors, np.nan)},
        "rows must number": {"directions": (one, replace(two, row=0))},
        "share an id": {"directions": (one, replace(two, id=one.id))},
        "belongs to basis": {"directions": (one, replace(two, basis_id="0" * 32))},
        "has shape": {"directions": (one, replace(two, shape=(3, 5, 4)))},
        "not a direction's id": {"directions": (one, replace(two, id="../x"))},
        "the mask of": {"rois": (replace(basis.rois[0], mask=np.zeros((4, 5), np.float32)),)},
        "finite numbers only": {"directions": (one, replace(two, leakage=float("inf")))},
        "cannot be written as plain data": {"image_name": "\udcff.png"},
    }
    for message, changes in wrong.items():
        with pytest.raises(InputError, match=message):
            write_basis(home, replace(basis, **changes))
    assert not home.root.exists()


def test_vectors_are_taken_by_row_and_checked(home):
    basis = make_basis()
    path = write_basis(home, basis)
    one, two = basis.directions
    found = vectors_of(path, {two.id: two.row, one.id: one.row})
    np.testing.assert_array_equal(found[two.id], basis.vectors[1])
    with pytest.raises(StorageError, match="does not hold direction"):
        vectors_of(path, {one.id: two.row})


def test_a_file_where_a_folder_must_be(home):
    home.root.mkdir()
    home.bases.write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*safetensors: .*run the same command again"):
        write_basis(home, make_basis())
    assert [path.name for path in home.root.iterdir()] == ["bases"]


def test_a_failing_check_gives_no_name_and_leaves_nothing(tmp_path):
    def check(path: Path) -> None:
        assert path.read_bytes() == b"new"
        raise Damaged("no")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(Damaged):
        write_atomic(tmp_path / "file", b"new", check)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_files_are_plain_safetensors(home):
    """Anyone can read one without us."""
    from safetensors import safe_open

    basis = make_basis(rois=("hair", "mouth"))
    with safe_open(write_basis(home, basis), "numpy") as file:
        assert sorted(file.keys()) == ["mask.0", "mask.1", "vectors"]
        assert file.get_tensor("mask.1").dtype == np.uint8
        np.testing.assert_array_equal(file.get_tensor("vectors"), basis.vectors)
        assert json.loads(file.metadata()["basis"])["rois"][1]["name"] == "mouth"


def test_a_moved_home_still_reads(home, tmp_path):
    basis = make_basis()
    write_basis(home, basis)
    shutil.move(home.root, tmp_path / "moved")
    assert same(read_basis(basis_path(Home(tmp_path / "moved"), basis.id)), basis)


def test_further_arrays_come_back_as_they_were(home):
    arrays = {
        "right.0": np.ones((2, 3, 4, 5), np.float16),
        "gains": np.array([[1.0, np.nan]], np.float32),
        "images": np.arange(32, dtype=np.uint8)[None],
    }
    basis = make_basis(arrays=arrays)
    assert same(read_basis(write_basis(home, basis)), basis)
    assert read_basis(write_basis(home, make_basis(1))).arrays == {}


@pytest.mark.parametrize("name", ["../up", "Right.0", "right.0.0", ""])
def test_an_array_of_a_name_that_no_basis_has_is_refused(name):
    with pytest.raises(InputError, match="is none that a basis has"):
        encode(make_basis(arrays={name: np.ones(2, np.float32)}))
    with pytest.raises(InputError, match=r"'right\.0' of int64 is none that a basis has"):
        encode(make_basis(arrays={"right.0": np.ones(2, np.int64)}))
