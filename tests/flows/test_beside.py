"""A program that is not ours reads the catalogue for a while: discovery and application wait for it, and finish."""

import contextlib
import os
import subprocess
import sys
import threading

from tests.flows.helpers import applied, counts, discovered

HELD = float(os.environ.get("LOCO_TEST_HELD", "2"))
"""Seconds for which it reads."""

_READ = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print(flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def reading(home):
    """A bare DuckDB that has the catalogue open; gone `HELD` seconds later, and the block must end after that."""
    command = [sys.executable, "-c", _READ, str(home.catalogue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "\n"
        timer = threading.Timer(HELD, reader.stdin.close)
        timer.start()
        yield
        assert reader.poll() == 0, "it must have waited"
        timer.join()


def test_discovery_and_application_wait_for_a_foreign_reader(home, registry, tmp_path):
    with reading(home):
        assert counts(discovered(home, rois=("patch",))) == (6, 6, 0, 0)
    with reading(home):
        run = applied(home, tmp_path / "out", dataset="photos")
        assert run.status == "done"
    assert registry.verify() == []
    assert {one.status for one in registry.runs()} == {"done"}
