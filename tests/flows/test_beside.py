"""A program that is not ours reads the catalogue for a while: discovery and application wait for it, and finish."""

import contextlib
import os
import subprocess
import sys
import threading

import duckdb
import pytest

from loco.errors import RegistryBusy
from registry.registry import Registry
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
def held(home):
    """A bare DuckDB that has the catalogue open until the block ends, or its input is closed."""
    command = [sys.executable, "-c", _READ, str(home.catalogue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "\n"
        yield reader
        reader.stdin.close()


@contextlib.contextmanager
def reading(home):
    """The same, gone `HELD` seconds later: the block must end after that."""
    with held(home) as reader:
        timer = threading.Timer(HELD, reader.stdin.close)
        timer.start()
        yield
        assert reader.poll() == 0, "it must have waited"
        timer.join()


def indexed(home):
    """Ids of the runs that have a row."""
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        return {run_id for (run_id,) in connection.sql("SELECT id FROM runs").fetchall()}


def test_discovery_and_application_wait_for_a_foreign_reader(home, registry, tmp_path):
    with reading(home):
        assert counts(discovered(home, rois=("patch",))) == (6, 6, 0, 0)
    with reading(home):
        run = applied(home, tmp_path / "out", dataset="photos")
        assert run.status == "done"
    assert registry.verify() == []
    assert {one.status for one in registry.runs()} == {"done"}


def test_a_run_that_never_got_at_the_catalogue_is_listed_as_failed_and_indexed_by_the_next(
    home, filled, monkeypatch
):
    monkeypatch.setenv("LOCO_WAIT", "0.2")
    with held(home), pytest.raises(RegistryBusy):
        discovered(home)
    [lost] = [one for one in Registry(home).runs() if one.status == "failed"]
    assert (lost.status, Registry(home).run(lost.id[:8])) == ("failed", lost)
    assert "is open in process" in lost.provenance["error"]
    assert lost.id not in indexed(home)

    monkeypatch.delenv("LOCO_WAIT")
    discovered(home)
    assert lost.id in indexed(home)
