import numpy as np
import pytest

from loco.errors import Damaged, InputError, StorageError
from registry.files import shared
from registry.files.basis import read_basis, write_basis
from registry.files.basis_bytes import encode
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis

BOTH = True  # the contract of either catalogue


def test_gc_lists_and_deletes_only_what_it_listed(filled, home):
    assert filled.garbage() == []
    partial = home.bases / "00" / f".{'0' * 32}.partial"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"half")
    filled.similar(filled.find(limit=1)[0].id)
    items = filled.garbage()
    assert [(one.path, one.why, one.size) for one in items] == [(str(partial), "half written", 4)]
    assert partial.exists()
    assert filled.collect(items) == 4
    assert not partial.exists()
    assert filled.garbage() == []


def test_gc_of_what_was_rejected_and_what_is_damaged(filled, home):
    rejected, named, damaged = make_basis(0), make_basis(1), make_basis(2)
    for one in (*rejected.directions, *named.directions):
        filled.reject(one.id)
    filled.label(named.directions[0].id, "keep")
    home.basis(damaged.id).write_bytes(b"noise")
    assert filled.garbage() == []
    items = filled.garbage(rejected=True, damaged=True)
    assert [(one.path, one.why) for one in items] == [
        (str(home.basis(rejected.id)), "all of its directions were rejected"),
        (str(home.basis(damaged.id)), "damaged"),
    ]
    filled.collect(items)
    assert filled.summary()["bases"] == 3
    assert not home.basis(rejected.id).exists()
    assert [one for one in filled.verify() if "model" not in one.subject] == []


def test_half_precision_halves_the_file_and_tells_what_it_lost(home, registry):
    shared.configure(home, dtype="float16")
    basis = make_basis(shape=(3, 64, 64))
    registry.add(basis)
    path = home.basis(basis.id)
    assert path.stat().st_size < 0.6 * len(encode(basis))
    again = read_basis(path)
    assert again.vectors.dtype == np.float32
    lost = np.linalg.norm((again.vectors - basis.vectors).reshape(2, -1), axis=1) / np.linalg.norm(
        basis.vectors.reshape(2, -1), axis=1
    )
    from registry.files.basis import read_header

    body = read_header(path).body
    assert body["dtype"] == "float16"
    assert body["loss"] == pytest.approx(lost.max(), rel=1e-3)
    assert 0 < body["loss"] < 5e-4
    registry.reindex()
    assert registry.vectors(basis.directions).shape == (2, 3, 64, 64)
    with pytest.raises(InputError, match="dtype: expected float32 or float16, found 'int8'"):
        shared.configure(home, dtype="int8")


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_shared_store(home, registry, tmp_path, kind, backend):
    url = str(tmp_path / "shared") if kind == "folder" else f"memory://{backend}"
    shared.configure(home, artifacts=url)
    basis = make_basis(0)
    registry.add(basis)
    elsewhere = Registry(Home(tmp_path / "second"))
    shared.configure(elsewhere.home, artifacts=url)
    assert shared.shared(elsewhere.home).ids() == {basis.id}
    assert elsewhere.known([one.id for one in basis.directions]) == set()
    elsewhere.index(basis.id)
    assert elsewhere.find() == registry.find()
    elsewhere.home.basis(basis.id).unlink()
    np.testing.assert_array_equal(elsewhere.vectors(basis.directions), basis.vectors)
    elsewhere.add(make_basis(1))
    assert [one.trouble for one in registry.verify() if "model" not in one.subject] == ["not fetched yet"]
    registry.reindex()
    assert registry.summary()["bases"] == 2
    shared.shared(home).delete(basis.id)
    assert [one.trouble for one in registry.verify() if "model" not in one.subject] == [
        "missing in the shared store"
    ]
    assert registry.send() == 1
    assert [one.trouble for one in registry.verify() if "model" not in one.subject] == []


def test_what_a_shared_store_holds_is_verified(home, registry, tmp_path):
    shared.configure(home, artifacts=str(tmp_path / "shared"))
    basis = make_basis(0)
    registry.add(basis)
    place = tmp_path / "shared" / basis.id[:2] / f"{basis.id}.safetensors"
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    home.basis(basis.id).unlink()
    with pytest.raises(Damaged, match="checksum"):
        registry.vectors(basis.directions)
    assert not home.basis(basis.id).exists()


def test_stores_that_cannot_be(home, tmp_path):
    with pytest.raises(InputError, match="expected a folder or a URL that fsspec knows"):
        shared.configure(home, artifacts="nonsense://x")
    assert shared.settings(home) == shared.Settings()
    home.root.mkdir()
    shared.settings_path(home).write_text('{"dtype": "float8"}')
    with pytest.raises(Damaged, match="set the store again"):
        write_basis(home, make_basis())
    shared.settings_path(home).unlink()
    (tmp_path / "file").write_text("in the way")
    shared.configure(home, artifacts=str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot use the shared store"):
        write_basis(home, make_basis())


def test_verify_names_foreign_files(filled, home):
    (home.bases / "readme.txt").write_text("hello")
    (home.bases / "00" / "deep").mkdir(parents=True)
    (home.bases / "00" / "deep" / "x.safetensors").write_bytes(b"x")
    assert [(one.subject, one.trouble) for one in filled.verify() if "foreign" in one.trouble] == [
        (str(home.bases / "00" / "deep" / "x.safetensors"), "a foreign file among the bases"),
        (str(home.bases / "readme.txt"), "a foreign file among the bases"),
    ]


def test_flipped_cut_deleted_and_foreign_are_each_named(filled, home):
    flipped, cut, gone = (home.basis(make_basis(number).id) for number in range(3))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-10])
    gone.unlink()
    (home.bases / "foreign").write_bytes(b"?")
    named = {one.subject for one in filled.verify()}
    assert {str(flipped), str(cut), str(gone), str(home.bases / "foreign")} <= named
    for number in range(2):
        with pytest.raises(Damaged):
            filled.vectors(make_basis(number).directions)
    with pytest.raises(StorageError, match="is missing"):
        filled.vectors(make_basis(2).directions)


def test_tables_for_other_programs(filled, tmp_path):
    import pyarrow as pa
    from pyarrow import csv, ipc, parquet

    from registry.index import outputs

    data = filled.table(roi="mouth", sort="id")
    found = filled.find(roi="mouth", sort="id")
    assert data["id"].to_pylist() == [one.id for one in found]
    assert data["gain"].to_pylist() == [one.gain for one in found]
    assert data["artifact"].to_pylist() == [str(filled.home.basis(one.basis_id)) for one in found]
    assert filled.relation(roi="mouth").filter("gain > 0").count("*").fetchone() == (2,)
    for kind in outputs.FORMATS:
        outputs.write(data, tmp_path / f"x.{kind}")
    assert parquet.read_table(tmp_path / "x.parquet").equals(data)
    with pa.memory_map(str(tmp_path / "x.arrow")) as source:
        assert ipc.open_file(source).read_all().equals(data)
    assert csv.read_csv(tmp_path / "x.csv")["gain"].to_pylist() == data["gain"].to_pylist()
    assert (tmp_path / "x.jsonl").read_text().count("\n") == 2
    with pytest.raises(InputError, match=r"ends in .csv, .parquet, .arrow, .jsonl"):
        outputs.write(data, tmp_path / "x.xls")
    assert Registry(Home(tmp_path / "none")).table().num_rows == 0


def test_groups(filled):
    groups = filled.grouped("roi", "t")
    assert [(one["roi"], one["t"], one["count"], one["converged_count"]) for one in groups] == [
        ("hair", 0.6, 8, 4),
        ("hair", 0.4, 2, 1),
        ("mouth", 0.6, 2, 1),
    ]
    assert groups[0]["gain_max"] == max(one.gain for one in filled.find(roi="hair", t=0.6))
    assert filled.grouped("model", where="gain > 1000") == []
    with pytest.raises(InputError, match="by: expected columns of id,"):
        filled.grouped("beauty; drop table directions")


def test_scores(filled):
    from registry.records import Score
    from tests.registry.builders import dump, forget, image_id, make_run

    one = filled.find(limit=1)[0]
    scores = [Score(make_run(1).id, one.id, image_id(number), 4.0, {"change": 0.5}) for number in range(3)]
    filled.add_scores(scores)
    filled.add_scores(scores[:1])
    assert sorted(filled.scores(one.id), key=lambda score: score.image_id) == sorted(
        scores, key=lambda score: score.image_id
    )
    before = dump(filled)
    forget(filled)
    filled.reindex()
    assert dump(filled) == before
