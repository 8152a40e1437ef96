"""What is half made: held while its maker lives, a leftover when it is dead; and a database is never begun twice."""

import pytest

from loco.errors import RegistryError
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis, make_model


def test_gc_beside_a_running_reindex_leaves_a_whole_catalogue(home, registry, worker):
    registry.add(*(make_basis(number, rank=1) for number in range(40)))
    rebuilding, collecting = worker("reindex", 8), worker("collect")
    for process in (rebuilding, collecting):
        assert process.stdout.readline() == "ready\n"
    out, err = rebuilding.communicate("go\n", timeout=120)
    assert rebuilding.returncode == 0, err
    times, err = collecting.communicate(timeout=120)
    assert collecting.returncode == 0, err
    assert int(times) >= 2, "nothing was collected meanwhile"
    assert out.split() == ["40"] * 8
    assert registry.summary()["bases"] == 40
    assert [one.subject for one in registry.verify()] == [f"model {make_basis().model}"]


@pytest.mark.parametrize("work", ["read", "write"])
def test_a_session_that_finds_its_catalogue_gone_raises_and_makes_none(home, registry, work):
    registry.add_model(make_model())
    home.catalogue.unlink()
    with pytest.raises(
        RegistryError, match=r"catalogue\.duckdb is gone.*`loco registry reindex` rebuilds it"
    ):
        registry.models() if work == "read" else registry.add(make_basis())
    assert not home.catalogue.exists()
    assert registry.reindex()["models"] == 1
    assert registry.models() == [make_model()]


def test_reindex_refuses_a_catalogue_that_has_less_than_the_files(home, registry, monkeypatch):
    """Whatever takes rows from the new catalogue before the swap, the old one stays."""
    from registry.index import events
    from registry.index.rows import drop_bases
    from registry.upkeep import reindex

    registry.add(*(make_basis(number) for number in range(3)))
    before = home.catalogue.read_bytes()
    take_in = events.take_in

    def lose(session, home):
        drop_bases(session, [make_basis(1).id])
        return take_in(session, home)

    monkeypatch.setattr(reindex.events, "take_in", lose)
    with pytest.raises(
        RegistryError, match="has 2 bases where the files tell of 3; the old one stays as it was"
    ):
        registry.reindex()
    assert home.catalogue.read_bytes() == before
    assert Registry(home).summary()["bases"] == 3


def test_a_new_home_is_its_owners_alone_and_outputs_are_not(tmp_path):
    from loco.files import write_atomic
    from registry.files.shared import configure

    for number, work in enumerate(
        (
            lambda registry: registry.add_model(make_model()),
            lambda registry: registry.reindex(),
            lambda registry: configure(registry.home, dtype="float16"),
        )
    ):
        home = Home(tmp_path / f"{number}" / "home")
        work(Registry(home))
        assert home.root.stat().st_mode & 0o777 == 0o700
        assert home.root.parent.stat().st_mode & 0o077
    write_atomic(tmp_path / "out" / "image.png", b"")
    assert (tmp_path / "out").stat().st_mode & 0o077
