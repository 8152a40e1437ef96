import json
import multiprocessing

import pytest

from loco.errors import InputError, StorageError
from registry.files import manifests
from registry.home import Home
from tests.registry.builders import make_edit, make_run

RUN = make_run()


def _append(root, worker, count):
    for number in range(count):
        record = {"kind": "failure", "worker": worker, "number": number, "cause": "x" * 300}
        manifests.append(Home(root), RUN.id, [record, record])


def test_records_come_back_in_order(home):
    records = [{"kind": "basis", "id": "a"}, {"kind": "failure", "image": "ü\n.png", "cause": None}]
    manifests.append(home, RUN.id, records[:1])
    manifests.append(home, RUN.id, records[1:])
    manifests.append(home, RUN.id, [])
    path = manifests.manifest_path(home, RUN.id)
    assert path == home.root / "runs" / RUN.id / "manifest.jsonl"
    assert manifests.read(path) == records
    assert [json.loads(line) for line in path.read_text().splitlines()] == records


def test_no_manifest_has_no_records(home):
    assert manifests.read(manifests.manifest_path(home, RUN.id)) == []


def test_the_last_run_line_counts_and_the_last_line_of_an_edit(home):
    started, done = make_run(status="running"), make_run(status="done")
    edits = [make_edit(0), make_edit(1), make_edit(0, output="again.png")]
    lines = [manifests.run_line(started), *map(manifests.edit_line, edits), manifests.run_line(done)]
    manifests.append(home, RUN.id, lines)
    records = manifests.read(manifests.manifest_path(home, RUN.id))
    assert manifests.run_of(records) == done
    assert manifests.edits_of(records) == [edits[2], edits[1]]
    assert manifests.run_of([]) is None


def test_what_a_flow_adds_to_a_line_does_not_hurt():
    line = {**manifests.edit_line(make_edit()), "seconds": 3}
    assert manifests.edits_of([line]) == [make_edit()]


@pytest.mark.parametrize(
    "torn", ['{"kind":"bas', '{"kind":"basis","id":"whole, but never finished"}', "\x00\x00"]
)
def test_a_torn_end_does_not_count_and_the_next_append_mends_it(home, torn):
    path = manifests.manifest_path(home, RUN.id)
    manifests.append(home, RUN.id, [{"kind": "basis", "id": "one"}])
    with path.open("a") as file:
        file.write(torn)
    assert [record["id"] for record in manifests.read(path)] == ["one"]
    manifests.append(home, RUN.id, [{"kind": "basis", "id": "two"}])
    assert [record["id"] for record in manifests.read(path)] == ["one", "two"]


def test_a_torn_first_line_and_a_long_one(home):
    path = manifests.manifest_path(home, RUN.id)
    path.parent.mkdir(parents=True)
    path.write_text("x" * 200_000)
    assert manifests.read(path) == []
    manifests.append(home, RUN.id, [{"kind": "basis", "id": "y" * 200_000}])
    with path.open("a") as file:
        file.write("z" * 200_000)
    manifests.append(home, RUN.id, [{"kind": "basis", "id": "b"}])
    assert [len(record["id"]) for record in manifests.read(path)] == [200_000, 1]


@pytest.mark.parametrize("line", ["no json", "[1]", '{"kind":"other"}', ""])
def test_damage_in_the_middle_is_passed_over_and_known_by_its_line(home, line):
    path = manifests.manifest_path(home, RUN.id)
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"kind":"basis"}}\n{line}\n{{"kind":"basis"}}\n')
    assert len(manifests.read(path)) == 2
    [bad] = manifests.journal_at(path).bad()
    assert (bad.number, bad.newer) == (2, line == '{"kind":"other"}')


def test_bad_records_and_bad_ids_are_refused_before_anything_is_written(home):
    for record in (
        {"kind": "other"},
        {},
        {"kind": "edit", "x": float("nan")},
        {"kind": "edit", "x": object()},
    ):
        with pytest.raises(InputError, match="manifest: "):
            manifests.append(home, RUN.id, [{"kind": "basis"}, record])
    with pytest.raises(InputError, match="an id is 32 characters"):
        manifests.append(home, "../up", [{"kind": "basis"}])
    assert not home.root.exists()


def test_several_processes_append_whole_lines(home):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(home.root, worker, 40)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    records = manifests.read(manifests.manifest_path(home, RUN.id))
    assert sorted((record["worker"], record["number"]) for record in records) == sorted(
        (worker, number) for worker in range(3) for number in range(40) for _ in range(2)
    )


def test_a_full_disk_takes_all_or_nothing(home, worker):
    manifests.append(home, RUN.id, [{"kind": "basis", "id": "one"}])
    process = worker("small_disk", "manifest", 2000)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
    path = manifests.manifest_path(home, RUN.id)
    assert str(path) in out
    assert path.read_text() == '{"id":"one","kind":"basis"}\n'


def test_a_file_where_the_folder_must_be(home):
    home.root.mkdir()
    home.runs.write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*manifest\.jsonl"):
        manifests.append(home, RUN.id, [{"kind": "basis"}])
