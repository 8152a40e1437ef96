import os
import subprocess
import sys

_READ = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print(flush=True)
sys.stdin.readline()
"""


def test_wait_says_how_long_a_writer_waits_for_a_program_that_reads(loco, filled, monkeypatch):
    monkeypatch.setenv("LOCO_WAIT", "500")
    one = filled.find(limit=1)[0].id
    command = [sys.executable, "-c", _READ, str(filled.home.catalogue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        reader.stdout.readline()
        outcome = loco("directions", "label", one, "kept", "--wait", "0.2", code=1)
        assert f"is open in process {reader.pid} ({sys.executable}" in outcome.err
        assert "(waited 0.2 s)" in outcome.err
        reader.communicate("\n", timeout=30)
    assert os.environ["LOCO_WAIT"] == "500"
    loco("directions", "label", one, "kept")


def test_a_wait_out_of_range_is_wrong_usage(loco):
    assert "0<=x<=604800" in loco("directions", "list", "--wait", "-1", code=2).err
    assert "nan" in loco("directions", "list", "--wait", "nan", code=2).err
