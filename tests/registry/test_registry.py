import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from loco.errors import InputError, StorageError, UnknownName
from registry.files.basis import write_basis
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import (
    MODEL,
    dump,
    image_id,
    make_basis,
    make_dataset,
    make_model,
    same,
)

BOTH = True  # the contract of either catalogue


def test_nothing_is_created_by_looking(home, registry):
    assert (
        registry.models()
        == registry.datasets()
        == registry.find()
        == registry.runs()
        == registry.edits()
        == []
    )
    assert registry.known(["a" * 32]) == set()
    assert registry.known_edits(["a" * 32]) == {}
    assert registry.image_name(image_id(0)) is None
    assert registry.verify() == []
    assert set(registry.summary().values()) == {0}
    for ask in (registry.model, registry.dataset):
        with pytest.raises(UnknownName, match="none is registered yet"):
            ask("faces")
    for look in (registry.direction, registry.run):
        with pytest.raises(UnknownName, match="has an id beginning with 'abcdef'"):
            look("abcdef")
    assert not home.root.exists()


def test_models(home, registry):
    model = make_model()
    registry.add_model(model)
    registry.add_model(make_model("other.v2", recommended_t=None))
    assert registry.model("faces") == model
    assert [one.name for one in registry.models()] == ["faces", "other.v2"]
    assert (home.models / "faces.json").is_file()
    with pytest.raises(UnknownName, match=r"no model is called 'face'; known are faces, other.v2; add one with `loco model add NAME SOURCE`"):  # fmt: skip  # noqa: E501
        registry.model("face")


def test_adding_a_model_again_updates_and_another_id_takes_the_name(registry):
    registry.add_model(make_model())
    registry.add(make_basis())
    registry.add_model(make_model(source="/elsewhere"))
    assert registry.model("faces").source == "/elsewhere"
    registry.add_model(make_model(key="0" * 32))
    assert [one.id for one in registry.models()] == ["0" * 32]
    assert len(registry.find(model=MODEL)) == 2
    assert registry.find(model="faces") == []
    registry.reindex()
    assert registry.model("faces").id == "0" * 32


def test_datasets(home, registry):
    dataset = make_dataset()
    registry.add_dataset(dataset)
    registry.add_dataset(make_dataset("big", range(60), masks="/masks"))
    assert registry.dataset("portraits") == dataset
    assert registry.datasets() == [make_dataset("big", range(60), masks="/masks"), dataset]
    registry.add_dataset(make_dataset(numbers=(7,)))
    assert registry.dataset("portraits").images == make_dataset(numbers=(7,)).images
    assert registry.image_name(image_id(7)) == "007.png"
    with pytest.raises(
        UnknownName, match=r"known are big, portraits; add one with `loco dataset add NAME PATH`"
    ):
        registry.dataset("x")


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "ü", "x\n", "x" * 101])
def test_names_that_cannot_be_a_files(home, registry, name):
    with pytest.raises(InputError, match="name: expected"):
        registry.add_model(make_model(name))
    with pytest.raises(InputError, match="name: expected"):
        registry.add_dataset(make_dataset(name))
    assert not home.root.exists()


def test_times_are_naive_utc(registry):
    registry.add_model(make_model(added_at="2026-11-20T10:00:00+02:00"))
    assert registry.model("faces").added_at == "2026-11-20T08:00:00"
    with pytest.raises(InputError, match="expected ISO 8601"):
        registry.add_model(make_model("x", added_at="today"))


def test_add_find_and_vectors(registry):
    bases = [make_basis(number) for number in range(3)]
    registry.add(*bases)
    found = registry.find()
    assert sorted(found, key=lambda one: one.id) == sorted(
        (one for basis in bases for one in basis.directions), key=lambda one: one.id
    )
    vectors = registry.vectors(found)
    assert vectors.dtype == np.float32
    by_id = {one.id: basis.vectors[one.row] for basis in bases for one in basis.directions}
    np.testing.assert_array_equal(vectors, np.stack([by_id[one.id] for one in found]))
    assert same(registry.basis(bases[1].id), bases[1])
    assert registry.vectors([found[0], found[0]]).shape == (2, 3, 4, 5)


def test_adding_again_does_nothing(registry):
    registry.add(make_basis())
    before = dump(registry)
    registry.add(make_basis(), make_basis())
    registry.index(make_basis().id)
    registry.add()
    assert dump(registry) == before


def test_the_file_that_is_there_is_what_is_catalogued(registry):
    first = make_basis()
    write_basis(registry.home, first)
    registry.add(make_basis(salt=1, products=999))
    assert same(registry.basis(first.id), first)
    np.testing.assert_array_equal(registry.vectors(first.directions), first.vectors)
    registry.add_model(make_model())
    assert registry.verify() == []


def test_a_rewritten_file_replaces_its_rows(registry):
    basis = make_basis()
    registry.add(basis)
    registry.home.basis(basis.id).unlink()
    assert registry.known(one.id for one in basis.directions) == set()
    better = replace(basis, directions=tuple(replace(one, gain=99.0) for one in basis.directions))
    registry.add(better)
    assert [one.gain for one in registry.find()] == [99.0, 99.0]
    assert len(registry.known(one.id for one in basis.directions)) == 2


def test_index_wants_the_file(registry):
    basis = make_basis()
    with pytest.raises(StorageError, match="is missing; run the same discover again"):
        registry.index(basis.id)
    write_basis(registry.home, basis)
    registry.index(basis.id)
    assert len(registry.find()) == 2


def test_a_direction_that_two_bases_hold_is_one(registry):
    alone, beside = make_basis(rois=("hair",)), make_basis(rois=("hair", "mouth"))
    shared = {one.id for one in alone.directions} & {one.id for one in beside.directions}
    assert len(shared) == 2
    registry.add(alone)
    registry.add(beside)
    assert len(registry.find(roi="hair")) == 2
    assert {one.basis_id for one in registry.find(roi="hair")} == {min(alone.id, beside.id)}
    assert registry.summary()["directions"] == 4
    registry.home.basis(min(alone.id, beside.id)).unlink()
    assert registry.known(shared) == shared
    registry.reindex()
    assert {one.basis_id for one in registry.find(roi="hair")} == {max(alone.id, beside.id)}


def test_a_basis_without_directions_is_catalogued(registry):
    basis = make_basis(kept=0)
    registry.add(basis)
    assert registry.find() == []
    assert registry.summary()["bases"] == 1
    assert len(registry.basis(basis.id).refused) == 2
    registry.add_model(make_model())
    assert registry.verify() == []


def test_vectors_that_do_not_go_together(registry):
    small, large = make_basis(0), make_basis(1, shape=(3, 8, 8))
    registry.add(small, large)
    with pytest.raises(InputError, match=r"must be of one shape, found \(3, 4, 5\), \(3, 8, 8\)"):
        registry.vectors([*small.directions, *large.directions])
    with pytest.raises(InputError, match="no direction at all"):
        registry.vectors([])


def test_vectors_reads_each_file_once(registry, monkeypatch):
    from registry.files import basis

    bases = [make_basis(number) for number in range(2)]
    registry.add(*bases)
    reads = []
    real = basis.read_basis
    monkeypatch.setattr(basis, "read_basis", lambda path: (reads.append(path), real(path))[1])
    registry.vectors([bases[0].directions[0], bases[1].directions[0], bases[0].directions[1]])
    assert len(reads) == 2


def test_a_basis_that_is_not_there(registry):
    with pytest.raises(UnknownName, match="an id is 32 characters"):
        registry.basis("../x")
    with pytest.raises(StorageError, match="is missing"):
        registry.basis("0" * 32)


@pytest.mark.parametrize("url", ["nonsense", "duckdb://", "duckdb:///:memory:"])
def test_urls_that_name_no_catalogue(home, url):
    with pytest.raises(InputError, match="registry: "):
        Registry(home, url)
    with pytest.raises(InputError, match="no path with a question mark"):
        Registry(Home(home.root / "what?"))


def test_a_catalogue_elsewhere(home, tmp_path):
    file = tmp_path / "odd näme#%20;'&" / "x.duckdb"
    registry = Registry(replace(home, root=file.parent))
    registry.add(make_basis())
    assert registry.home.catalogue.is_file()
    other = Registry(home, f"duckdb:///{tmp_path}/else/where.duckdb")
    other.add(make_basis())
    assert (tmp_path / "else" / "where.duckdb").is_file()
    assert not home.catalogue.exists()
    other.reindex()
    assert len(other.find()) == 2


def test_a_thousand_directions_are_one_transaction(registry, monkeypatch):
    bases = [make_basis(number, rank=5, shape=(1, 2, 2)) for number in range(200)]
    for basis in bases:
        write_basis(registry.home, basis)
    registry.add_model(make_model())
    writes, write = [], registry.catalogue.write
    monkeypatch.setattr(registry.catalogue, "write", lambda work: (writes.append(work), write(work))[1])
    registry.index(*(basis.id for basis in bases))
    assert len(writes) == 1
    ids = [one.id for basis in bases for one in basis.directions]
    assert registry.known(ids) == set(ids)
    assert len(registry.find()) == 1000


def test_the_import_is_light():
    code = (
        "import sys, registry.registry; "
        "print({'torch', 'prefect', 'diffusers', 'click', 'pyarrow'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
