"""Everybody at once on one home: upkeep, writers, readers by SQL; and a foreign reader that stays beside them."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from registry.registry import Registry
from tests.registry.builders import make_basis, make_model

ROOT = Path(__file__).parents[2]

_LABEL = """
import sys, time
from pathlib import Path
from registry.home import Home
from registry.registry import Registry
registry, until, me = Registry(Home(Path(sys.argv[1]))), time.time() + float(sys.argv[2]), sys.argv[3]
ids, said, worst = [one.id for one in registry.find()], 0, 0.0
while time.time() < until or said < 3:
    begun = time.monotonic()
    registry.label(ids[said % len(ids)], f"{me} {said}")
    worst, said = max(worst, time.monotonic() - begun), said + 1
print(said, worst)
"""

_REPEAT = """
import subprocess, sys, time
until, worst, count = time.time() + float(sys.argv[1]), 0.0, 0
while time.time() < until or not count:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cli.main", *sys.argv[2:]], capture_output=True, text=True)
    worst, count = max(worst, time.monotonic() - begun), count + 1
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
print(count, worst)
"""

COMMANDS = (
    ("registry", "gc", "--delete"),
    ("registry", "reindex"),
    ("registry", "verify"),
    ("registry", "backup", "{home}/../home.zip"),
    ("registry", "snapshot", "{home}/../others.duckdb", "--replace"),
    ("sql", "SELECT count(*) FROM directions"),
    ("directions", "list"),
)
"""What runs again and again beside the writers."""


def together(home, seconds, writers, commands):
    """How often each did its work, and how long the slowest time took; what was said is all there afterwards."""
    registry = Registry(home)
    registry.add_model(make_model())
    registry.add(*(make_basis(number) for number in range(6)))
    started = [
        [sys.executable, "-c", _LABEL, str(home.root), str(seconds), f"writer {number}"]
        for number in range(writers)
    ]
    started += [
        [sys.executable, "-c", _REPEAT, str(seconds), "--home", str(home.root)]
        + [word.format(home=home.root) for word in words]
        for words in commands
    ]
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for command in started]
    told = []
    for process in running:
        out, err = process.communicate(timeout=seconds + 200)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        count, worst = out.split()
        told.append((int(count), float(worst)))
    said = sum(count for count, _ in told[:writers])
    assert len(registry.history()) == said
    assert sum(map(len, registry.labels().values())) == said
    lines = (home.root / "history" / "directions.jsonl").read_text().splitlines()
    assert len({json.loads(line)["text"] for line in lines}) == len(lines) == said
    assert registry.summary()["bases"] == 6
    assert registry.verify() == []
    return told


def test_upkeep_writers_and_readers_at_once_lose_nothing(home):
    """A few rounds of each; LOCO_TEST_TOGETHER says for how many seconds more."""
    together(home, float(os.environ.get("LOCO_TEST_TOGETHER", "2")), 3, COMMANDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_upkeep_eight_writers_and_readers_for_three_minutes_lose_nothing(home):
    told = together(home, float(os.environ.get("LOCO_TEST_TOGETHER", "180")), 8, COMMANDS)
    print([f"{count} x, at most {worst:.1f} s" for count, worst in told])


def test_a_foreign_reader_that_stays_stops_neither_upkeep_nor_label(home):
    """LOCO_TEST_HELD says for how many seconds it stays."""
    registry = Registry(home)
    registry.add_model(make_model())
    registry.add(make_basis(0))
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(home.catalogue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        reader.stdout.readline()
        begun = time.monotonic()
        threading.Timer(float(os.environ.get("LOCO_TEST_HELD", "2")), reader.stdin.close).start()
        registry.label(registry.find()[0].id, "kept")
        assert reader.wait(30) == 0
        assert time.monotonic() - begun >= float(os.environ.get("LOCO_TEST_HELD", "2")) - 0.5
    assert registry.verify() == []
    assert list(registry.labels().values()) == [["kept"]]
