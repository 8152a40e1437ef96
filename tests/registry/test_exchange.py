import contextlib
import json
import shutil
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.errors import InputError
from registry.home import Home
from registry.registry import Registry
from tests.postgres import fresh
from tests.registry.builders import dump, make_basis, make_model, same

BOTH = True  # the contract of either catalogue


@pytest.fixture
def other(tmp_path):
    return Registry(Home(tmp_path / "other"))


@pytest.fixture
def file(filled, tmp_path):
    """An export of all, with a label and an alias."""
    one = filled.find(limit=1)[0]
    filled.label(one.id, "smile", who="ana")
    filled.alias("smile@prod", one.id, who="ana")
    path = tmp_path / "some.loco"
    filled.export(path)
    return path


def rewritten(path, change):
    """The archive with `change` made to its dict of members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_all_arrives_and_nothing_twice(filled, file, other):
    done = other.import_(file)
    assert (done.added, done.known, done.models, done.events, done.refused) == (5, 0, 1, 2, ())
    assert done.directions == len(filled.find()) == 12
    assert other.find(sort="id") == filled.find(sort="id")
    assert other.direction("smile@prod") == filled.direction("smile@prod")
    assert other.model("faces") == make_model()
    assert same(other.basis(make_basis(0).id), filled.basis(make_basis(0).id))
    before = dump(other)
    assert other.import_(file) == type(done)(0, 5, 0, 0, ())
    assert dump(other) == before
    assert [one.subject for one in other.verify()] == [one.subject for one in filled.verify()]


def test_the_way_back_too(filled, file, other, tmp_path):
    other.import_(file)
    other.add(make_basis(40))
    other.export(tmp_path / "back.loco", where="gain > 40")
    done = filled.import_(tmp_path / "back.loco")
    assert (done.added, done.known) == (1, 0)
    assert len(filled.find(where="gain > 40")) == 2


def test_a_selection_takes_its_bases_only(filled, other, tmp_path):
    done = filled.export(tmp_path / "few.loco", roi="mouth")
    assert (done.bases, done.directions, done.models, done.chosen) == (1, 4, 1, 2)
    brought = other.import_(tmp_path / "few.loco")
    assert (brought.added, brought.directions) == (1, 4)
    with pytest.raises(InputError, match="no direction matches"):
        filled.export(tmp_path / "none.loco", roi="nose")
    assert not (tmp_path / "none.loco").exists()


def test_two_exports_are_the_same_bytes(filled, file, tmp_path):
    filled.export(tmp_path / "again.loco")
    assert (tmp_path / "again.loco").read_bytes() == file.read_bytes()


def test_hostile_members_are_named_and_nothing_leaves_the_home(filled, file, other, tmp_path):
    good, bad, swapped = (f"bases/{make_basis(number).id}.safetensors" for number in range(3))

    def change(members):
        data = members[bad]
        members["../../escape.safetensors"] = data
        members["bases/../../up.safetensors"] = data
        members["/etc/loco"] = data
        members["models/../x.json"] = b"{}"
        members["models/evil.json"] = json.dumps({**vars(make_model("evil", "f" * 32)), "source": 3}).encode()
        members["bases/" + "a" * 32 + ".safetensors"] = (2**62).to_bytes(8, "little") + b'{"lies":1}'
        members["bases/" + "b" * 32 + ".safetensors"] = members[swapped]
        members[bad] = data[:-1] + bytes([data[-1] ^ 1])
        line = {
            "at": "2026-11-24T10:00:00",
            "who": "x",
            "action": "label",
            "direction_id": "'; DROP",
            "text": "a",
        }
        members["history.jsonl"] += json.dumps(line).encode() + b"\n" + b"[" * 10_000 + b"\n"

    rewritten(file, change)
    before = sorted(path for path in tmp_path.rglob("*") if "other" not in path.parts)
    done = other.import_(file)
    assert sorted(path for path in tmp_path.rglob("*") if "other" not in path.parts) == before
    assert (done.added, done.models, done.events) == (4, 1, 2)
    causes = dict(done.refused)
    assert set(causes) == {
        "../../escape.safetensors", "bases/../../up.safetensors", "/etc/loco", "models/../x.json",
        "models/evil.json", f"bases/{'a' * 32}.safetensors", f"bases/{'b' * 32}.safetensors", bad,
        "history.jsonl line 3", "history.jsonl line 4",
    }  # fmt: skip
    assert "its bytes are not what its checksum says" in causes[bad]
    assert "its header" in causes[f"bases/{'a' * 32}.safetensors"]
    assert good not in causes
    assert {path.name for path in other.home.root.iterdir()} == {
        "bases", "models", "history", "catalogue.duckdb", "catalogue.duckdb.lock", "catalogue.duckdb.gate",
    }  # fmt: skip


def test_what_is_no_export(other, tmp_path):
    for content in (b"", b"noise" * 100, b"PK\x03\x04"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError, match="is no file of `loco directions export`"):
            other.import_(tmp_path / "x")
    with pytest.raises(InputError, match="there is no file"):
        other.import_(tmp_path / "gone")
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"bases/{'a' * 32}.safetensors", bytes(10_000_000))
    assert other.import_(tmp_path / "bomb").refused[0][1].startswith("compressed")
    assert not other.home.bases.exists()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_never_taken_for_the_real_thing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    source, target = Registry(Home(folder / "a")), Registry(Home(folder / "b"))
    source.add(make_basis(0, rank=1, shape=(1, 2, 2)))
    source.export(folder / "x")
    content = bytearray((folder / "x").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (folder / "x").write_bytes(content)
    with contextlib.suppress(InputError):
        target.import_(folder / "x")
    assert target.find() in ([], source.find())
    assert [one for one in target.verify() if not one.subject.startswith("model")] == []
    shutil.rmtree(folder)


def test_copy_to_the_other_database_and_back(filled, request, tmp_path):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "smile")
    filled.reject(filled.find(limit=2)[1].id, "a,b\"c'\\N")
    server = fresh(
        request.getfixturevalue("postgres_server"), f"copy{tmp_path.name[-20:]}".replace("-", "_").lower()
    )
    counts = filled.copy_to(server)
    assert (counts["directions"], counts["labels"], counts["sketches"]) == (12, 1, 12)
    there = Registry(filled.home, server)
    assert {key: rows for key, rows in dump(there).items() if key != "migrations"} == {
        key: rows for key, rows in dump(filled).items() if key != "migrations"
    }
    with pytest.raises(InputError, match="holds something already; --replace"):
        filled.copy_to(server)
    assert filled.copy_to(server, replace=True) == counts
    back = f"duckdb:///{tmp_path}/back.duckdb"
    assert there.copy_to(back) == counts
    assert dump(Registry(filled.home, back)) == dump(filled)
    with pytest.raises(InputError, match="both source and target"):
        filled.copy_to(str(filled.catalogue.url))


def test_a_backup_is_a_home(filled, tmp_path):
    filled.label(filled.find(limit=1)[0].id, "smile")
    count = filled.backup(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert len(archive.namelist()) == count
        archive.extractall(tmp_path / "restored")
    again = Registry(Home(tmp_path / "restored"))
    if not again.home.catalogue.exists():  # that of a server is not in it
        again.reindex()
    assert dump(again) == dump(filled)
    assert again.find(label="smile") == filled.find(label="smile")
