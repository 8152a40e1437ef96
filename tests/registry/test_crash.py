import signal
import sqlite3
import time

import pytest

from loco.errors import RegistryError, StorageError
from registry.files.basis import write_basis
from registry.registry import Registry
from tests.registry.builders import make_basis, make_dataset, make_model, make_run


def files_of(home):
    return sorted(path.name for path in home.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("repair", ["index", "reindex"])
def test_killed_between_file_and_row(home, registry, worker, repair):
    process = worker("die_between")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    lost = make_basis(1)
    assert registry.known(one.id for one in lost.directions) == set()
    [problem] = registry.verify()
    assert problem.subject == str(home.basis(lost.id))
    assert (problem.trouble, problem.remedy) == ("not in the catalogue", "run `loco registry reindex`")
    if repair == "index":
        registry.index(lost.id)
    else:
        assert registry.reindex()["bases"] == 2
    assert registry.known(one.id for one in lost.directions) == {one.id for one in lost.directions}
    assert registry.verify() == []


def test_killed_before_commit_keeps_what_was_and_takes_nothing_half(registry, worker):
    process = worker("die_before_commit")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert registry.summary()["bases"] == 1
    assert {problem.trouble for problem in registry.verify()} == {"not in the catalogue"}
    registry.add(*(make_basis(number) for number in range(1, 10)))
    assert registry.summary()["bases"] == 10
    assert registry.verify() == []


def test_killed_at_any_moment_loses_nothing_that_was_reported(home, registry, worker):
    for delay in (0.05, 0.12):
        process = worker("die_adding")
        assert process.stdout.readline()
        time.sleep(delay)
        process.kill()
        out, _ = process.communicate()
        done = 1 + len(out.split())
        assert registry.summary()["bases"] >= done
        registry.reindex()
        assert [one for one in registry.verify() if one.trouble != "half written"] == []
        for path in home.root.rglob("*.partial"):
            path.unlink()
        assert registry.verify() == []


def test_four_processes_adding_lose_nothing(registry, worker):
    workers = [worker("add", 25 * number, 25) for number in range(4)]
    for process in workers:
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in workers:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert registry.summary()["bases"] == 100
    assert registry.summary()["directions"] == 100
    assert [one.subject for one in registry.verify()] == [f"model {make_basis().model}"]


@pytest.mark.parametrize("what", ["basis", "model"])
def test_a_full_disk_is_named_and_leaves_nothing(home, worker, what):
    process = worker("small_disk", what, 4096)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
    assert str(home.root) in out
    assert "free or enlarge the disk" in out
    assert not [
        name for name in files_of(home) if "partial" in name or "safetensors" in name or "json" in name
    ]


@pytest.mark.parametrize("limit", [2000, 9000])
def test_a_full_disk_under_the_catalogue(home, registry, worker, limit):
    """The basis file is there, the database does not fit: the file stays, and the next try brings the row."""
    basis = make_basis()
    write_basis(home, basis)
    process = worker("small_disk", "index", limit)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
    assert f"cannot use the catalogue {home.catalogue}" in out
    assert registry.find() == []
    assert home.basis(basis.id).is_file()
    assert not home.catalogue.exists()
    registry.index(basis.id)
    assert len(registry.find()) == 2


def test_a_file_where_the_home_must_be(home):
    home.root.write_text("in the way")
    registry = Registry(home)
    assert registry.models() == []
    for work in (
        lambda: registry.add(make_basis()),
        lambda: registry.add_model(make_model()),
        lambda: registry.start_run(make_run()),
        registry.reindex,
    ):
        with pytest.raises(StorageError, match=r"cannot (write|read) .*home"):
            work()


def test_a_folder_where_the_catalogue_must_be(home, registry):
    home.catalogue.mkdir(parents=True)
    for work in (registry.models, lambda: registry.add_model(make_model())):
        with pytest.raises((StorageError, RegistryError), match=r"catalogue\.duckdb"):
            work()


@pytest.mark.parametrize("kind", ["noise", "sqlite", "cut"])
def test_a_damaged_catalogue_is_rebuilt_from_the_files(home, registry, kind):
    registry.add_model(make_model())
    registry.add(make_basis())
    if kind == "noise":
        home.catalogue.write_bytes(b"noise" * 5000)
    elif kind == "cut":
        home.catalogue.write_bytes(home.catalogue.read_bytes()[:5000])
    else:
        home.catalogue.unlink()
        base = sqlite3.connect(home.catalogue)
        base.execute("create table x (y)")
        base.commit()
        base.close()
    with pytest.raises((RegistryError, StorageError), match=r"catalogue\.duckdb"):
        registry.find()
    registry.reindex()
    assert len(registry.find()) == 2
    assert registry.verify() == []


def test_an_empty_catalogue_file_is_no_catalogue(home, registry):
    home.root.mkdir()
    home.catalogue.touch()
    assert registry.models() == []
    registry.add_model(make_model())
    assert len(registry.models()) == 1


def test_the_log_of_a_killed_catalogue_is_not_replayed_onto_the_new_one(home, registry):
    registry.add(make_basis())
    log = home.catalogue.with_name("catalogue.duckdb.wal")
    log.write_bytes(b"left behind")
    registry.reindex()
    assert not log.exists()
    assert len(registry.find()) == 2


def test_a_failed_reindex_leaves_the_old_catalogue(home, registry, monkeypatch):
    registry.add_model(make_model())
    registry.add_dataset(make_dataset())
    before = home.catalogue.read_bytes()

    def fail(*_):
        raise StorageError("disk")

    monkeypatch.setattr("registry.upkeep.reindex._put_records", fail)
    with pytest.raises(StorageError):
        registry.reindex()
    assert home.catalogue.read_bytes() == before
    assert not [name for name in files_of(home) if "partial" in name]
