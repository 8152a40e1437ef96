"""`loco model remove` and `loco dataset remove`: what still needs a name, and that nothing else is lost."""

from dataclasses import replace

import pytest

from registry.registry import Registry
from tests.cli.schedule.test_list import put
from tests.registry.builders import make_dataset


def test_a_dataset_that_nothing_needs_is_gone_from_file_and_catalogue(loco, registry, home):
    for name in ("big", "portraits"):
        registry.add_dataset(make_dataset(name))
    assert loco("dataset", "remove", "big").out == "removed    big\nneeded by  -"
    assert [one.name for one in registry.datasets()] == ["portraits"]
    assert [path.name for path in home.datasets.iterdir()] == ["portraits.json"]
    assert "no dataset is called 'big'" in loco("dataset", "remove", "big", code=2).err
    registry.reindex()
    assert [one.name for one in registry.datasets()] == ["portraits"]


@pytest.mark.parametrize(("what", "name"), [("model", "faces"), ("dataset", "portraits")])
def test_what_is_needed_stays_without_force_and_bases_stay_always(loco, filled, home, what, name):
    bases = sorted(home.bases.glob("*/*.safetensors"))
    held = [path.read_bytes() for path in bases]
    count = filled.count(status="all")
    put(home)
    said = loco(what, "remove", name, code=2).err
    assert said.startswith(f"error: {what} '{name}' is still needed by: ")
    assert "directions found" in said
    assert "schedule nightly (`loco schedule remove nightly`)" in said
    assert said.endswith("with --force its name is forgotten all the same")
    assert [one["name"] for one in loco(what, "list", "--json").json] == [name]
    [record] = loco(what, "remove", name, "--force", "--json").json
    assert record["removed"] == name
    assert len(record["needed_by"]) == 2
    assert loco(what, "list", "--json").json == []
    assert [path.read_bytes() for path in bases] == held
    assert Registry(home).count(status="all") == count


@pytest.mark.parametrize("what", ["model", "dataset"])
def test_a_removal_that_was_cut_short_is_completed_by_the_same_command(loco, filled, home, what):
    name = {"model": "faces", "dataset": "portraits"}[what]
    (home.root / f"{what}s" / f"{name}.json").unlink()  # the file goes first, then the row
    loco(what, "remove", name, "--force")
    assert loco(what, "list", "--json").json == []


def test_an_unfinished_run_needs_its_dataset(loco, registry, a_run, home):
    registry.add_dataset(make_dataset("big"))
    changed = {"id": "ab" * 16, "manifest": f"runs/{'ab' * 16}/manifest.jsonl", "spec": {"dataset": "big"}}
    registry.start_run(replace(a_run, status="interrupted", **changed))
    assert "run abababababab, which is interrupted" in loco("dataset", "remove", "big", code=2).err
