from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from loco.errors import Damaged, RegistryError
from loco.ids import bytes_id, content_id
from registry.files import manifests
from registry.files.basis import write_basis
from registry.registry import Registry
from registry.upkeep import reindex
from tests.registry.builders import (
    dump,
    forget,
    make_basis,
    make_edit,
    make_model,
    make_run,
)

BOTH = True  # the contract of either catalogue


def test_reindex_equals_the_original(filled):
    before, counts = dump(filled), filled.summary()
    assert filled.reindex() == {**counts, "damaged": 0}
    assert dump(filled) == before
    forget(filled)
    assert Registry(filled.home, filled.catalogue.url.render_as_string(hide_password=False)).find() == []
    filled.reindex()
    assert dump(filled) == before


def test_reindex_of_nothing(home, registry):
    assert set(registry.reindex().values()) == {0}
    assert registry.verify() == []


def test_reindex_catches_up_with_what_others_add_meanwhile(home, monkeypatch):
    registry = Registry(home)
    gone, rewritten, added = make_basis(0), make_basis(1), make_basis(2)
    registry.add(gone, rewritten)
    real = reindex._catch_up
    calls = []

    def catch_up(*arguments):
        real(*arguments)
        if not calls:
            registry.home.basis(gone.id).unlink()
            registry.home.basis(rewritten.id).unlink()
            registry.add(
                replace(rewritten, directions=tuple(replace(one, gain=77.0) for one in rewritten.directions)),
                added,
            )
        calls.append(1)

    monkeypatch.setattr(reindex, "_catch_up", catch_up)
    registry.reindex()
    assert len(calls) == 2
    assert sorted(one.gain for one in registry.find()) == [6.0, 7.0, 77.0, 77.0]
    registry.add_model(make_model())
    assert registry.verify() == []


def test_reindex_passes_over_what_is_damaged(filled):
    home = filled.home
    home.basis(make_basis(0).id).write_bytes(b"noise")
    (home.models / "bad.json").write_text("{}")
    (home.datasets / "bad.json").write_text("[]")
    (home.bases / "zz").mkdir()
    (home.bases / "zz" / "strange name.safetensors").write_bytes(home.basis(make_basis(1).id).read_bytes())
    bad_run = home.runs / ("f" * 32)
    bad_run.mkdir()
    (bad_run / "manifest.jsonl").write_text("x\n")
    foreign = home.runs / ("e" * 32)
    foreign.mkdir()
    (foreign / "manifest.jsonl").write_text((home.root / make_run(0).manifest).read_text())
    counts = filled.reindex()
    assert (counts["damaged"], counts["bases"], counts["models"], counts["runs"]) == (6, 4, 1, 2)


def test_verify_names_everything(filled):
    home = filled.home
    other = content_id("model", "other")
    assert [(one.subject, one.trouble) for one in filled.verify()] == [
        (f"model {other}", "has bases, but no name here")
    ]
    missing, damaged, orphan, moved, rewritten = (make_basis(number) for number in (0, 1, 9, 8, 2))
    home.basis(missing.id).unlink()
    data = bytearray(home.basis(damaged.id).read_bytes())
    data[-1] ^= 255
    home.basis(damaged.id).write_bytes(data)
    write_basis(home, orphan)
    write_basis(home, moved).rename(home.bases / "moved.safetensors")
    (home.bases / "00").mkdir(exist_ok=True)
    (home.bases / "moved.safetensors").rename(home.bases / "00" / "moved.safetensors")
    home.basis(rewritten.id).unlink()
    write_basis(home, make_basis(2, salt=5))
    partial = home.bases / "00" / f".{'0' * 32}.partial"
    partial.write_bytes(b"half")
    (home.root / f".catalogue.duckdb.{'1' * 32}.partial.wal").write_bytes(b"half")
    (home.models / "faces.json").unlink()
    (home.models / "late.json").write_text("{}")
    (home.datasets / "portraits.json").write_text("no json")
    (home.root / "out0.png").unlink()
    (home.root / "out1.png").write_bytes(b"other")
    (home.root / make_run(0).manifest).unlink()
    manifests.append(home, make_run(1).id, [manifests.edit_line(make_edit(5, 1))])
    manifests.append(home, make_run(7).id, [manifests.run_line(make_run(7))])
    filled.add_edits([make_edit(6, 6, str(home.root / "x.png"))])
    troubles = {one.subject: one.trouble for one in filled.verify()}
    assert all(one.remedy for one in filled.verify())
    expected = {
        home.basis(missing.id): "in the catalogue, but the file is missing",
        home.basis(orphan.id): "not in the catalogue",
        home.bases / "00" / "moved.safetensors": f"holds the basis {moved.id}",
        home.basis(rewritten.id): "was rewritten since the catalogue saw it",
        partial: "half written",
        home.root / f".catalogue.duckdb.{'1' * 32}.partial.wal": "half written",
        home.models / "faces.json": "in the catalogue, but the file is missing",
        home.root / "out0.png": "the output image is missing",
        home.root / "out1.png": "the output image is not the one that was written",
        home.root / "x.png": "the output image is missing",
        home.runs / make_run(0).id: "in the catalogue, but its manifest is missing",
        home.root / make_run(1).manifest: "1 of its outputs are not in the catalogue",
        home.root / make_run(7).manifest: "its run is not in the catalogue",
        f"run {make_run(6).id}": "has outputs in the catalogue, but no row",
        f"model {other}": "has bases, but no name here",
    }
    for subject, trouble in expected.items():
        assert troubles.pop(str(subject)) == trouble
    assert "damaged" in troubles.pop(str(home.basis(damaged.id)))
    assert "damaged" in troubles.pop(str(home.models / "late.json"))
    assert "damaged" in troubles.pop(str(home.datasets / "portraits.json"))
    assert troubles == {}


def test_verify_finds_rows_that_refer_to_nothing(filled):
    engine = create_engine(filled.catalogue.url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM bases WHERE id = :id"), {"id": make_basis(0).id})
        connection.execute(text("DELETE FROM datasets"))
    engine.dispose()
    troubles = {one.subject: one.trouble for one in filled.verify()}
    assert troubles[f"basis {make_basis(0).id}"] == "has directions or regions in the catalogue, but no row"
    assert troubles["dataset portraits"] == "has images in the catalogue, but no row"
    filled.reindex()
    filled.add_model(make_model("other", content_id("model", "other")))
    assert filled.verify() == []


def test_only_the_last_writer_of_an_output_is_asked(filled):
    output = filled.home.root / "out0.png"
    output.write_bytes(b"by a later run")
    filled.start_run(make_run(9))
    filled.add_edits([make_edit(9, 9, str(output), bytes_id(b"by a later run"))])
    assert [one for one in filled.verify() if "out0" in one.subject] == []


def test_a_catalogue_of_another_version(filled):
    engine = create_engine(filled.catalogue.url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()
    with pytest.raises(
        RegistryError,
        match=r"tables of version 99, this program has \d+; use the newer program, or `loco registry reindex`",
    ):
        filled.find()
    filled.reindex()
    assert len(filled.find()) == 12


def test_a_damaged_basis_is_named_when_its_vectors_are_wanted(registry):
    basis = make_basis()
    registry.add(basis)
    path = registry.home.basis(basis.id)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Damaged, match=str(path)):
        registry.vectors(basis.directions)


def test_what_is_wrong_names_neither_the_file_nor_the_remedy_again(home, filled):
    damaged, unreadable = (home.basis(make_basis(number).id) for number in (0, 1))
    damaged.write_bytes(damaged.read_bytes()[:-3])
    unreadable.unlink()
    unreadable.mkdir()
    found = {one.subject: one for one in filled.verify()}
    one, other = found[str(damaged)], found[str(unreadable)]
    assert one.trouble.startswith("basis file is damaged: ")
    assert one.remedy == "delete the file and run the same discover again"
    assert other.trouble == "cannot read basis file: Is a directory"
    assert other.remedy == "check the disk"
