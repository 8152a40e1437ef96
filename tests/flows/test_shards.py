"""The same program several times at once, each on its part: together they leave what one run leaves."""

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from flows.engine.options import Shard
from flows.jobs import ApplyJob, asked, plain
from flows.outputs import ledger
from flows.outputs.outputs import Outputs
from flows.outputs.spool import Spool
from flows.register import dataset_record
from loco.errors import InputError
from registry.home import Home
from registry.registry import Registry
from tests.flows import part
from tests.flows.helpers import REPOSITORY, applied, counts, discovered, first, picture, save


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_every_position_is_in_one_part(count, of):
    blocks = [Shard(number, of).block(count) for number in range(1, of + 1)]
    assert [position for block in blocks for position in block] == list(range(count))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize(
    ("text", "told"),
    [("0/4", "1 to 4, found 0"), ("5/4", "1 to 4, found 5"), ("1/0", "from 1 to 1000000"), ("-1/4", "1 to 4")]
    + [(text, "expected I/N") for text in ("", "1", "1/", "/4", "1/4/2", "a/b", "1.0/2", "1 / 2", "١/٢")],
)
def test_a_part_that_is_none_is_refused_with_the_range(text, told):
    with pytest.raises(InputError, match=told):
        Shard.parse(text)


def test_the_command_line_refuses_it_before_anything_else(loco):
    options = ("--direction", "ab:1", "--images", ".", "--out", "out")
    refused = loco("apply", *options, "--shard", "3/2", code=2)
    assert "must lie in 1 to 2, found 3" in refused.err


def test_a_part_is_in_the_runs_record_and_comes_back_from_it():
    job = ApplyJob((("a", 1.0),), (4.0,), "out", "in", shard=Shard(2, 3))
    assert asked("apply", json.loads(json.dumps(plain(job)))) == job


def test_two_programs_at_once_leave_what_one_leaves(tmp_path, template):
    homes = [Home(tmp_path / name) for name in ("whole", "parts")]
    outs = [tmp_path / "out of one", tmp_path / "out of two"]
    for home in homes:
        shutil.copytree(template.root, home.root)
    direction = first(template).id
    part.main(homes[0].root, outs[0], direction)
    command = [sys.executable, "-m", "tests.flows.part", str(homes[1].root), str(outs[1]), direction]
    both = [subprocess.Popen([*command, one], cwd=REPOSITORY) for one in ("1/2", "2/2")]
    assert [one.wait(timeout=200) for one in both] == [0, 0]

    one, two = map(Registry, homes)
    assert {found.id for found in one.find()} == {found.id for found in two.find()}
    assert [_scores(registry, direction) for registry in (one, two)] == [_scores(one, direction)] * 2
    assert one.summary() | {"runs": 0} == two.summary() | {"runs": 0}
    assert two.verify() == []
    assert _files(outs[0]) == _files(outs[1])
    assert len(_files(outs[0])) == 12
    lines = [_lines(out) for out in outs]
    assert len(lines[0]) == 12
    assert lines[0] == lines[1]
    tables = [pq.read_table(out / "manifest.parquet").drop_columns("seconds") for out in outs]
    assert tables[0].to_pylist() == tables[1].to_pylist()
    for kind in ("discover", "apply", "score"):
        planned = [run.counts["planned"] for run in two.runs(kind)]
        assert sum(planned[:2]) == one.runs(kind)[0].counts["planned"]


def _scores(registry, direction):
    return sorted(
        (one.image_id, one.strength, sorted(one.figures.items())) for one in registry.scores(direction)
    )


def _files(out):
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def _lines(out):
    lines = map(json.loads, (out / "manifest.jsonl").read_text().splitlines())
    return sorted(
        (
            {name: value for name, value in line.items() if name not in ("run_id", "seconds")}
            for line in lines
        ),
        key=lambda line: line["output"],
    )


def test_images_with_the_same_bytes_are_in_one_part_and_computed_once(tmp_path, home, registry):
    folder = tmp_path / "twins"
    for number in range(4):
        save(folder / f"{number}.png", picture(1 if number in (1, 2) else number))
    registry.add_dataset(dataset_record("twins", folder))
    evaluations = []
    for shard in (Shard(1, 2), Shard(2, 2)):
        run = discovered(home, dataset="twins", rois=("all=box:0,0,1,1",), shard=shard)
        assert run.status == "done"
        evaluations.append((run.counts["planned"], run.counts["done"], run.counts["skipped"]))
    assert sum(planned for planned, _, _ in evaluations) == 4
    assert len(list(home.bases.glob("*/*.safetensors"))) == 3
    assert registry.summary()["bases"] == 3
    assert all(done + skipped == planned for planned, done, skipped in evaluations)


def test_more_parts_than_images_leave_some_with_nothing_to_do(tmp_path, home, filled):
    runs = [applied(home, tmp_path / "out", dataset="photos", limit=2, shard=Shard(k, 3)) for k in (1, 2, 3)]
    assert [counts(run) for run in runs] == [(0, 0, 0, 0), (2, 2, 0, 0), (2, 2, 0, 0)]
    assert {run.status for run in runs} == {"done"}
    assert len(_lines(tmp_path / "out")) == 4


def test_lines_of_a_part_that_ends_while_the_manifest_is_written_anew_are_in_the_table(
    tmp_path, home, filled, monkeypatch
):
    out = tmp_path / "out"
    applied(home, out, dataset="photos", limit=1)
    [line, other] = [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]
    mine = Outputs(home, out)
    mine.log(line)  # superseded: the manifest is to be written anew
    rewrite = ledger.replace_lines

    def beside(path, texts):
        rewrite(path, texts)
        monkeypatch.undo()
        theirs = Outputs(home, out)
        theirs.log(other | {"output": "of the other part.png"})
        with Spool(home.spool) as spool:
            theirs.settle(spool)

    monkeypatch.setattr(ledger, "replace_lines", beside)
    with Spool(home.spool) as spool:
        mine.settle(spool)
    names = {line["output"] for line in _lines(out)}
    assert "of the other part.png" in names
    assert set(pq.read_table(out / "manifest.parquet")["output"].to_pylist()) == names
