"""Many images: memory that does not grow with them, and kills at any moment."""

import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import time

import pyarrow.parquet as pq
import pytest

from loco.ids import file_id
from loco.images import encode
from registry.registry import Registry
from tests.flows.helpers import REPOSITORY, first, leftovers, picture, save, state


def shard(path, count):
    """A tar of `count` images, made on the fly."""
    with tarfile.open(path, "w") as file:
        for number in range(count):
            data = encode(picture(number), "png")
            member = tarfile.TarInfo(f"{number:06d}.png")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def start(home, out, images, steps=2):
    command = [sys.executable, "-m", "tests.flows.worker", home.root, out, images, first(home).id, steps]
    return subprocess.Popen(
        [*map(str, command)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return json.loads(out)


def lines(out):
    """The whole lines of the manifest."""
    path = out / "manifest.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


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
