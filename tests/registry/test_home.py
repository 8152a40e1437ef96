"""The table of what a home consists of: a backup has all that counts, verify looks at all, strangers are named."""

import json
import os
import platform
import zipfile
from pathlib import PurePosixPath

import numpy as np
import psutil
import pytest
from PIL import Image

from loco.ids import content_id
from registry.alike.matrix import matrix
from registry.files import shared
from registry.files.cache import Cache
from registry.home import PARTS, Home, part_of
from registry.registry import Registry
from tests.registry.builders import dump, make_basis, make_model, make_run


@pytest.fixture
def whole(filled, home):
    """A home in which every kept part has a file."""
    filled.add_model(make_model("other", content_id("model", "other")))
    filled.label(make_basis(0).directions[0].id, "smile", who="ann")
    filled.alias("smile@prod", make_basis(0).directions[0].id, who="ann")
    shared.configure(home, dtype="float16")
    (home.root / "schedules").mkdir()
    (home.root / "schedules" / "nightly.json").write_text(json.dumps({"name": "nightly", "job": {}}))
    mask = home.masks / "ab" / f"ab{'0' * 30}.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.eye(16, dtype=np.uint8)).save(mask)
    (home.root / "outputs").mkdir()
    (home.root / "outputs" / f"{'1' * 32}.jsonl").write_text('{"id": "x"}\n')
    Cache(home).put("c" * 32, np.zeros(3, np.float32))
    matrix(filled.catalogue, home)
    assert filled.verify() == []
    return filled


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_backup_restores_to_a_home_that_is_the_same(whole, home, tmp_path):
    archive = tmp_path / "backup.zip"
    count = whole.backup(archive)
    with zipfile.ZipFile(archive) as stored:
        stored.extractall(tmp_path / "again")
        assert len(stored.namelist()) == len(set(stored.namelist())) == count
    before, after = files_of(home.root), files_of(tmp_path / "again")
    kept = {name for name in before if (part := part_of(PurePosixPath(name))) and part.kept}
    assert after == {name: before[name] for name in kept}
    for sort in (
        "schedules",
        "masks",
        "history",
        "runs",
        "models",
        "datasets",
        "outputs",
        "bases",
        "store.json",
    ):
        assert any(name.startswith(sort) for name in after), sort
    again = Registry(Home(tmp_path / "again"))
    assert dump(again) == dump(whole)
    for number in range(2):  # outputs stay where they are: here they count from the home
        (again.home.root / f"out{number}.png").write_bytes(b"image %d" % number)
    assert again.verify() == []
    assert again.direction("smile@prod").id == make_basis(0).directions[0].id
    assert again.reindex() == whole.reindex()


def test_a_backup_has_the_log_of_a_killed_writer(home, registry, worker, tmp_path):
    """What was committed and not yet taken into the database is in the archive too."""
    process = worker("die_with_log")
    process.communicate(timeout=60)
    assert home.catalogue.with_name("catalogue.duckdb.wal").stat().st_size
    registry.backup(tmp_path / "backup.zip")
    with zipfile.ZipFile(tmp_path / "backup.zip") as stored:
        stored.extractall(tmp_path / "again")
    assert Registry(Home(tmp_path / "again")).models() == [make_model()]


def flip(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def cut(path, size=None):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if size is None else size])


def run_file(home, number=0):
    return home.runs / make_run(number).id / "manifest.jsonl"


def model_file(home):
    return home.models / "faces.json"


def dataset_file(home):
    return home.datasets / "portraits.json"


def history_file(home):
    return home.root / "history" / "directions.jsonl"


def some(home, pattern):
    return sorted(home.root.glob(pattern))[0]


DAMAGE = {
    "run manifest cut in its middle": lambda home: cut(run_file(home)),
    "run manifest cut to nothing": lambda home: cut(run_file(home), 0),
    "run manifest without its last line": lambda home: run_file(home).write_bytes(
        b"".join(run_file(home).read_bytes().splitlines(keepends=True)[:-1])
    ),
    "run manifest with another checksum": lambda home: flip(
        run_file(home), b'"checksum":"', b'"checksum":"f'
    ),
    "run manifest lost": lambda home: run_file(home).unlink(),
    "found.jsonl lost": lambda home: some(home, "bases/??/found.jsonl").unlink(),
    "found.jsonl cut to nothing": lambda home: cut(some(home, "bases/??/found.jsonl"), 0),
    "model with another t": lambda home: flip(
        model_file(home), b'"recommended_t": 0.6', b'"recommended_t": 0.7'
    ),
    "model with another source": lambda home: flip(model_file(home), b"zoo:faces", b"zoo:f4ces"),
    "dataset with another size": lambda home: flip(dataset_file(home), b'"width": 64', b'"width": 65'),
    "dataset with another cause": lambda home: flip(dataset_file(home), b"truncated", b"trunkated"),
    "history with another label": lambda home: flip(history_file(home), b"smile", b"smirk"),
    "history cut": lambda home: cut(history_file(home)),
    "history lost": lambda home: history_file(home).unlink(),
    "settings with another type": lambda home: flip(home.root / "store.json", b"float16", b"float32"),
    "schedule of another name": lambda home: flip(
        home.root / "schedules" / "nightly.json", b"nightly", b"weekly"
    ),
    "schedule cut": lambda home: cut(home.root / "schedules" / "nightly.json"),
    "mask cut": lambda home: cut(some(home, "masks/??/*.png")),
    "manifest of a URL cut": lambda home: flip(some(home, "outputs/*.jsonl"), b'"x"}', b'"x'),
    "sketches with another number": lambda home: flip_last(some(home, "cache/sketches-*/numbers.npy")),
    "basis with another byte": lambda home: flip_last(some(home, "bases/??/*.safetensors")),
    "stranger": lambda home: (home.root / "models" / "notes.txt").write_text("mine"),
    "stranger at the top": lambda home: (home.root / "notes.txt").write_text("mine"),
    "strange folder": lambda home: write(home.root / "mine" / "sub" / "notes.txt"),
    "killed backup": lambda home: (home.root / f".{'0' * 32}.partial").write_bytes(b"half"),
}


def flip_last(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def write(path):
    path.parent.mkdir(parents=True)
    path.write_text("mine")


@pytest.mark.parametrize("what", DAMAGE)
def test_verify_names_whatever_is_wrong_with_any_file_of_the_home(whole, home, what):
    before = {path: path.read_bytes() if path.is_file() else None for path in home.root.rglob("*")}
    DAMAGE[what](home)
    changed = {path for path, data in before.items() if path.is_file() and path.read_bytes() != data}
    changed |= {path for path in before if not path.exists()} | ({*home.root.rglob("*")} - before.keys())
    problems = whole.verify()
    assert problems, what
    for problem in problems:
        assert any(
            str(path).startswith(problem.subject) or problem.subject.startswith(str(path)) for path in changed
        ), problem
        assert problem.remedy


@pytest.mark.parametrize("path", [model_file, dataset_file])
def test_a_flipped_value_is_known_by_the_checksum_alone(whole, home, path):
    """Also where the catalogue was made from the flipped file: reindex passes it over."""
    flip(path(home), b'"id": "', b'"id": "0')
    assert whole.reindex()["damaged"] == 1


def test_records_of_an_earlier_program_are_read_and_said_to_have_no_checksum(whole, home):
    assert whole.unchecked() == [
        f"1 files of models, datasets, schedules or settings are of an earlier program and have no checksum: "
        f"{home.root / 'schedules' / 'nightly.json'}"
    ]
    path = model_file(home)
    told = json.loads(path.read_bytes())
    del told["sha256"]
    path.write_text(json.dumps(told))
    assert whole.verify() == []
    assert str(path) in whole.unchecked()[0]
    whole.add_model(make_model())
    assert "sha256" in json.loads(path.read_bytes())


def test_outputs_within_the_home_are_no_strangers(whole, home):
    edited = home.root / "edited"
    edited.mkdir()
    (edited / "manifest.jsonl").write_text("{}\n")
    [problem] = whole.verify()
    assert (problem.subject, problem.trouble) == (str(edited), "a foreign folder in the home")


def test_every_part_has_a_pattern_of_its_own_and_says_all(home):
    assert len({part.pattern for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert part.kind in ("truth", "index", "cache", "lock", "secret", "foreign")
        assert part.what
        assert part.checked
        assert part.kept or part.kind != "truth"
    assert part_of(PurePosixPath("models/sub/faces.json")) is None
    assert part_of(PurePosixPath("prefect/a/b")).kind == "foreign"


def test_a_killed_process_leaves_nothing_after_one_gc(whole, home):
    names = [
        home.root / f".{'1' * 32}.partial",
        home.root / f".catalogue.duckdb.{'2' * 32}.partial.wal",
        home.masks / f".{'3' * 32}.partial",
        home.root / "outputs" / f".{'4' * 32}.partial",
        home.root / "schedules" / f".{'5' * 32}.partial",
        home.spool / f".{'6' * 32}.partial",
        home.root / "history" / f".{'7' * 32}.partial",
    ]
    for number, path in enumerate(names):
        path.parent.mkdir(exist_ok=True)
        if number % 2:
            path.mkdir()
            (path / "inside").write_bytes(b"half")
        else:
            path.write_bytes(b"half")
    assert {problem.subject for problem in whole.verify()} == set(map(str, names))
    whole.collect(whole.garbage())
    assert whole.verify() == []
    assert not [path for path in names if os.path.lexists(path)]


def test_how_far_a_run_is_needs_no_checksum(filled, home):
    path = home.runs / ("a" * 32) / "progress.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert not any("checksum" in said for said in filled.unchecked())


def test_a_run_that_works_and_is_about_to_be_indexed_is_no_fault(filled, home):
    before, process = filled.verify(), psutil.Process()
    here = {"host": platform.node(), "pid": process.pid, "born": process.create_time()}
    filled.log_run(make_run(5, status="running", provenance=here))
    assert filled.verify() == before
    filled.log_run(make_run(5, status="running", provenance=here | {"pid": 2**22 + 1}))
    found = [one.trouble for one in filled.verify() if one not in before]
    assert found == ["its run is not in the catalogue"]
