"""Many images: memory that does not grow with them, and kills at any moment."""

import json
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from loco.ids import file_id
from registry.registry import Registry
from tests.flows.helpers import REPOSITORY, first, leftovers, picture, save, state
from tests.flows.tars import check_packed, lines, shard, shards


def start(home, out, images, steps=2, format="png", *more):
    words = (home.root, out, images, first(home).id, steps, format, *more)
    command = [sys.executable, "-m", "tests.flows.worker", *words]
    return subprocess.Popen(
        [*map(str, command)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return json.loads(out)


def check_memory(home, tmp_path, few, many):
    peaks = []
    for count in (few, many):
        out = tmp_path / f"out-{count}"
        done = finish(start(home, out, shard(tmp_path / f"{count}.tar", count)))
        assert (done["status"], done["counts"]["done"]) == ("done", 2 * count)
        assert pq.read_metadata(out / "manifest.parquet").num_rows == 2 * count
        peaks.append(done["peak_kib"])
    print(f"peak resident memory: {few} images {peaks[0] >> 10} MiB, {many} images {peaks[1] >> 10} MiB")
    assert peaks[1] < 1.15 * peaks[0]


def test_memory_does_not_grow_with_the_images(home, filled, tmp_path):
    check_memory(home, tmp_path, 60, 400)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_at_20_000_images(home, filled, tmp_path):
    check_memory(home, tmp_path, 1000, 20_000)


def check_kills(home, tmp_path, count, kills, seed):
    """Kill it so many times, each at a random moment of the work, then let it finish; all that is said is true."""
    images, out = tmp_path / "images", tmp_path / "out"
    for number in range(count):
        save(images / f"{number:04d}.png", picture(number))
    moments, before = random.Random(seed), {}
    progress = []
    for _ in range(kills):
        process = start(home, out, images, steps=12)
        known = len(lines(out))
        while len(lines(out)) == known and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        said = [out / line["output"] for line in lines(out)]
        assert state(*before) == before, "a finished image was written again"
        for line in lines(out):
            assert file_id(out / line["output"]) == line["checksum"]
        before = state(*said)
        progress.append(len(said))
    done = finish(start(home, out, images, steps=12))
    assert state(*before) == before, "a finished image was written again"
    assert done["status"] == "done"
    assert done["counts"]["skipped"] == progress[-1]
    assert done["counts"]["done"] == 2 * count - progress[-1]
    made = sorted(path.relative_to(out).as_posix() for path in out.glob("*__*"))
    told = [line["output"] for line in lines(out)]
    assert len(made) == 2 * count
    assert sorted(told) == made
    for line in lines(out):
        assert line["status"] == "done"
        assert file_id(out / line["output"]) == line["checksum"]
        assert line["image_id"] == file_id(images / line["image_name"])
    assert pq.read_table(out / "manifest.parquet", columns=["output"])["output"].to_pylist() == made
    assert leftovers(out) == []
    assert Registry(home).verify() == []
    print(f"finished outputs after each kill: {progress}")
    return progress


def test_killed_at_a_random_moment(home, filled, tmp_path):
    check_kills(home, tmp_path, 100, 1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_ten_times_at_random_moments(home, filled, tmp_path):
    progress = check_kills(home, tmp_path, 4000, 10, seed=2)
    assert progress == sorted(progress)


def written(out):
    """Lines of the manifest, counted and not read."""
    path = out / "manifest.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def check_shards_killed(home, tmp_path, count, each, kills, seed):
    """Tar shards to tar shards: kill it so many times at random moments, then let it finish."""
    images, out = shards(tmp_path / "in", count, each), tmp_path / "out"
    moments, seen, progress = random.Random(seed), {}, []
    for number in range(kills):
        process = start(home, out, images, format="webdataset")
        known = written(out)
        until = known + moments.randrange(1, max(2, (2 * count - known) // (kills - number)))
        while written(out) < until and process.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_packed(out)
        assert state(*seen) == seen, "a finished shard was written again"
        seen = state(*out.glob("*.tar"))
        progress.append((len(lines(out)), len(seen)))
    done = finish(start(home, out, images, format="webdataset"))
    assert state(*seen) == seen, "a finished shard was written again"
    assert done["status"] == "done"
    assert done["counts"]["skipped"] == progress[-1][0]
    assert done["counts"]["done"] == 2 * count - progress[-1][0]
    found = check_packed(out)
    assert len(found) == 2 * count
    assert [path.name for path in sorted(out.glob("*.tar"))] == [
        path.name for path in sorted(images.glob("*"))
    ]
    assert sorted((line["shard"], line["member"]) for line in lines(out)) == found
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".tar") == [
        "manifest.jsonl",
        "manifest.parquet",
    ]
    assert Registry(home).verify() == []
    print(f"finished outputs and shards after each kill: {progress}; peak {done['peak_kib'] >> 10} MiB")
    return progress


def test_shards_killed_at_a_random_moment_have_each_member_once(home, filled, tmp_path):
    check_shards_killed(home, tmp_path, 120, 25, 1, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_20_000_images_in_shards_killed_ten_times_have_each_member_once(home, filled, tmp_path):
    progress = check_shards_killed(home, tmp_path, 20_000, 1000, 10, seed=4)
    assert progress == sorted(progress)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("each", [100, 30])
def test_two_programs_at_once_leave_the_shards_that_one_leaves(home, filled, tmp_path, each):
    """Of one tar, which both have a part of, and of four."""
    images = shards(tmp_path / "in", 100, each)
    finish(start(home, tmp_path / "one", images, 2, "webdataset"))
    both = [start(home, tmp_path / "two", images, 2, "webdataset", one) for one in ("1/2", "2/2")]
    done = [finish(one)["counts"]["done"] for one in both]
    assert sum(done) == 200
    assert min(done) > 0
    assert len(check_packed(tmp_path / "two")) == 200
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / out).glob("*.tar")} for out in ("one", "two")
    )
    assert one == two
    assert sorted(path.name for path in (tmp_path / "two").iterdir() if path.suffix != ".tar") == [
        "manifest.jsonl",
        "manifest.parquet",
    ]


def check_packed_memory(home, tmp_path, few, many, each):
    peaks = []
    for count in (few, many):
        out = tmp_path / f"out-{count}"
        done = finish(start(home, out, shards(tmp_path / f"in-{count}", count, each), format="webdataset"))
        assert (done["status"], done["counts"]["done"]) == ("done", 2 * count)
        assert len(check_packed(out)) == 2 * count
        peaks.append(done["peak_kib"])
    print(f"peak resident memory: {few} images {peaks[0] >> 10} MiB, {many} images {peaks[1] >> 10} MiB")
    assert peaks[1] < 1.15 * peaks[0]


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_memory_at_20_000_images_in_shards(home, filled, tmp_path):
    check_packed_memory(home, tmp_path, 1000, 20_000, 1000)
