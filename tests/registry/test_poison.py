"""What comes from outside or lies in the home is validated whole: nothing spoils what stands beside it."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from loco.errors import InputError, NewerFormat
from registry.files import checked, found, history, manifests
from registry.files.basis import basis_path
from registry.files.basis_bytes import encode
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import dump, make_basis, make_edit, make_model, make_run
from tests.registry.test_formats import of_format

LOST = make_basis(7, rois=("hair", "mouth"))


def archive_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def told(header, basis=None):
    """A basis file's bytes whose plain data are changed by `header`, with the checksum that belongs to them."""
    data = encode(LOST if basis is None else basis)
    start = 8 + int.from_bytes(data[:8], "little")
    outer = json.loads(data[8:start])
    body = json.loads(outer["__metadata__"]["basis"])
    header(body)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    outer["__metadata__"] = {"basis": text, "sha256": "0" * 64}
    head = json.dumps(outer, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return of_format(len(head).to_bytes(8, "little") + head + data[start:], 2)


def change(**values):
    return lambda body: body.update(values)


def of_direction(**values):
    return lambda body: body["directions"][0].update(values)


HOSTILE = {
    "a text for a number": of_direction(gain="1"),
    "a number for a text": of_direction(roi=7),
    "true for a number": of_direction(t=True),
    "a shape of two": of_direction(shape=[4, 5]),
    "a shape that is not the vectors'": of_direction(shape=[3, 5, 4]),
    "a huge number": of_direction(products=10**400),
    "a number of 40 bits": of_direction(products=2**40),
    "infinity": of_direction(leakage=1e999),
    "a path for an id": of_direction(id="../../../../etc/passwd"),
    "an id twice": lambda body: body["directions"][1].update(id=body["directions"][0]["id"]),
    "a row twice": of_direction(row=1),
    "a text of a megabyte": change(image_name="x" * 2**20),
    "a NUL": change(image_name="a\0b"),
    "half a character": change(image_name="\ud800"),
    "deep data": change(provenance={"a": json.loads("[" * 500 + "]" * 500)}),
    "a list for the data": lambda body: body.update(refused={"a": 1}),
    "nothing": lambda body: body.clear(),
    "no evaluations": lambda body: body.pop("evaluations"),
    "another basis": change(id="f" * 32),
    "a recipe that cannot be": lambda body: body["recipe"].update(steps=0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_basis_is_refused_with_a_reason_and_its_neighbour_taken(registry, tmp_path, what):
    good = make_basis(1)
    path = archive_of(
        tmp_path / "x",
        [
            (f"bases/{LOST.id}.safetensors", told(HOSTILE[what])),
            (f"bases/{good.id}.safetensors", encode(good)),
        ],
    )
    done = registry.import_(path)
    assert (done.added, done.directions) == (1, 2)
    [(name, cause)] = done.refused
    assert name == f"bases/{LOST.id}.safetensors"
    assert 10 < len(cause) < 1000
    assert not basis_path(registry.home, LOST.id).exists()
    assert registry.reindex()["damaged"] == 0


def test_arrays_that_are_not_numbers_or_of_another_shape_are_refused(registry, tmp_path):
    nan = replace(LOST, vectors=np.full_like(LOST.vectors, 1))
    bad = encode(nan).replace(np.float32(1).tobytes() * 4, np.float32("nan").tobytes() * 4)
    flat = save({"vectors": np.zeros((2, 3), np.float32)})
    for data in (of_format(bad, 2), flat, b"\0" * 1000, (2**62).to_bytes(8, "little") + b"{}", b""):
        done = registry.import_(archive_of(tmp_path / "x", [(f"bases/{LOST.id}.safetensors", data)]))
        assert len(done.refused) == 1
    assert not registry.home.bases.exists()


LINES = {
    "a number for a text": {"at": 3},
    "a time that is none": {"at": "soon"},
    "an action that is none": {"action": "rename"},
    "a path for an id": {"direction_id": "../" * 10 + "aa"},
    "a text of a megabyte": {"text": "x" * 2**20},
    "a line break": {"text": "a\nb"},
    "no text": {"text": None},
    "a list": {"text": ["a"]},
}


@pytest.mark.parametrize("what", LINES)
def test_a_bad_line_of_an_imported_history_is_named_and_neither_kept_nor_in_the_way_of_reindex(
    filled, home, tmp_path, what
):
    one = filled.find(limit=1)[0]
    line = {
        "at": "2026-11-24T10:00:00",
        "who": "ana",
        "action": "label",
        "direction_id": one.id,
        "text": "kept",
    }
    text = json.dumps(line | LINES[what]) + "\n" + json.dumps(line) + "\n"
    members = [(f"bases/{one.basis_id}.safetensors", home.basis(one.basis_id).read_bytes())]
    done = filled.import_(archive_of(tmp_path / "x", [*members, ("history.jsonl", text)]))
    assert done.events == 1
    assert [name for name, _ in done.refused] == ["history.jsonl line 1"]
    assert history.history_path(home).read_bytes().count(b"\n") == 1
    assert filled.reindex()["damaged"] == 0
    assert filled.labels() == {one.id: ["kept"]}


@pytest.mark.parametrize("what", ["history", "found", "manifest"])
def test_a_bad_line_of_any_journal_is_named_by_file_and_line_and_costs_no_other(filled, home, what):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "first")
    path, bad = {
        "history": (history.history_path(home), {"at": 1, "who": "a", "action": "label"}),
        "found": (home.basis(one.basis_id).with_name(found.NAME), {"id": one.basis_id, "seconds": "long"}),
        "manifest": (
            manifests.manifest_path(home, make_run(1).id),
            manifests.edit_line(make_edit(1, 1)) | {"edit": {"id": 5}},
        ),
    }[what]
    count = path.read_bytes().count(b"\n")
    before = dump(filled)
    with path.open("a") as file:
        file.write(json.dumps(bad) + "\n" + "[" * 5000 + "\n" + json.dumps({"id": 1e400}) + "\n")
    told = [one.trouble.partition(":")[0] for one in filled.verify() if one.subject == str(path)]
    assert told == [f"line {number} says nothing" for number in range(count + 1, count + 4)]
    assert filled.reindex()["damaged"] == (0 if what == "found" else 1)
    assert dump(filled) == before


def test_lines_of_a_newer_program_are_passed_over_told_as_such_and_stay(filled, home):
    run = manifests.manifest_path(home, make_run(1).id)
    one = filled.find(limit=1)[0]
    filled.label(one.id, "first")
    said = history.history_path(home)
    event = json.loads(said.read_bytes()) | {"action": "rate"}
    for path, lines in (
        (said, [event, event | {"action": "label", "stars": 3}]),
        (run, [{"kind": "note", "text": "x"}, {"kind": "basis", "format": 2}]),
    ):
        with path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        text = path.read_bytes()
        named = [one for one in filled.verify() if one.subject == str(path)]
        assert ["is a newer program's" in one.trouble for one in named] == [True, True]
        counts = filled.reindex()
        assert counts["damaged"] == 0
        assert path.read_bytes() == text
    assert counts["newer"] == 2


def test_nothing_that_cannot_be_read_again_is_written(registry, home):
    with pytest.raises(InputError, match="manifest: "):
        registry.add_edits([replace(make_edit(0), image_id=5)])
    with pytest.raises(InputError, match="plain data: its image_name: input should be a valid string"):
        registry.add(replace(LOST, image_name=7))
    assert not home.runs.exists()
    assert not home.bases.exists()


def test_a_model_of_an_import_never_takes_the_place_of_another_and_nonsense_is_refused(
    filled, home, tmp_path
):
    record = vars(make_model("evil", "f" * 32))
    bad = [{"train_steps": 0}, {"recommended_t": 5}, {"shape": [3, 4]}, {"id": "../x"}, {"added_at": "x"}]
    for values in bad:
        data = json.dumps(record | values)
        done = filled.import_(archive_of(tmp_path / "x", [("models/evil.json", data)]))
        assert [name for name, _ in done.refused] == ["models/evil.json"]
        assert not (home.models / "evil.json").exists()
    text = (home.models / "faces.json").read_bytes()
    done = filled.import_(
        archive_of(tmp_path / "x", [("models/faces.json", json.dumps(record | {"name": "faces"}))])
    )
    assert "another model has the name 'faces' here" in done.refused[0][1]
    assert (home.models / "faces.json").read_bytes() == text


def test_only_regular_files_are_imported_and_a_huge_one_is_not_read(registry, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(17 << 30)
    lying = bytearray(archive_of(tmp_path / "lying", [("history.jsonl", b"")]).read_bytes())
    with (tmp_path / "directory").open("wb") as file:  # says that its directory has four gigabytes
        file.seek(5 << 30)
        end = lying[lying.rfind(b"PK\5\6") :]
        end[12:16] = (2**32 - 2).to_bytes(4, "little")
        end[16:20] = (0).to_bytes(4, "little")
        file.write(end)
    for name, cause in (
        ("pipe", "not a regular file"),
        ("zeros", "is no file of `loco directions export`"),
        ("directory", "is no file of `loco directions export`"),
    ):
        with pytest.raises(InputError, match=cause):
            registry.import_(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        registry.import_(Path("/dev/zero"))
    assert not registry.home.bases.exists()


def test_an_export_of_a_newer_program_is_told_as_such_and_nothing_is_taken(registry, tmp_path):
    good = make_basis(1)
    members = [("format.json", b'{"format": 2}'), (f"bases/{good.id}.safetensors", encode(good))]
    with pytest.raises(NewerFormat, match=r"export .* was written by a newer program: its format is 2"):
        registry.import_(archive_of(tmp_path / "x", members))
    assert not registry.home.bases.exists()


@pytest.fixture
def export(filled, tmp_path):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "smile", who="ana")
    filled.export(tmp_path / "some.loco")
    return tmp_path / "some.loco"


@pytest.mark.parametrize("half", ["basis", "model", "history"])
def test_an_import_killed_between_file_and_row_is_healed_by_the_same_import(filled, export, tmp_path, half):
    there = Home(tmp_path / "there")
    path = {
        "basis": there.basis(sorted(one.basis_id for one in filled.find())[0]),
        "model": there.models / "faces.json",
        "history": history.history_path(there),
    }[half]
    command = [
        sys.executable,
        "-m",
        "tests.registry.worker",
        str(there.root),
        "die_once",
        str(path),
        "import",
    ]
    killed = subprocess.run([*command, str(export)], cwd=Path(__file__).parents[2], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert path.stat().st_size
    again = Registry(there)
    again.import_(export)
    assert again.find(sort="id") == filled.find(sort="id")
    assert again.labels() == filled.labels()
    assert [one.name for one in again.models()] == ["faces"]
    assert history.history_path(there).read_bytes() == history.history_path(filled.home).read_bytes()
    assert [one for one in again.verify() if not one.subject.startswith("model ")] == []
    assert again.import_(export).known == 5


def test_a_run_killed_between_manifest_and_row_is_in_the_catalogue_once_the_next_one_starts(
    registry, home, worker
):
    process = worker("die_once", manifests.manifest_path(home, make_run(0).id), "run")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert registry.summary()["runs"] == 0
    assert [run.id for run in registry.runs()] == [make_run(0).id], "told from its own file"
    registry.start_run(make_run(1))
    assert {run.id for run in registry.runs()} == {make_run(0).id, make_run(1).id}
    assert registry.verify() == []


def test_what_a_killed_run_wrote_and_did_not_index_is_there_once_it_is_marked_interrupted(registry, home):
    registry.start_run(make_run(0, status="running"))
    manifests.append(home, make_run(0).id, [manifests.edit_line(make_edit(0))])
    registry.finish_run(make_run(0, status="interrupted"))
    assert registry.edits() == [make_edit(0)]


def test_json_within_bounds_only():
    for data in (
        b"[" * 100_000, b'{"a":' * 40 + b"1" + b"}" * 40, b"1" * 5000, b"NaN", b'"\\ud800"', b'"\\u0000"',
        b"\xff\xfe", b'{"a": 1e999}', b"-9223372036854775809", b'"' + b"x" * 2**20 + b'"', b"",
    ):  # fmt: skip
        with pytest.raises(checked.Unfit):
            checked.plain(data)
    assert checked.plain(b'{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}
