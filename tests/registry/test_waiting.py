"""A program that is not ours has the catalogue open: ours wait, say for whom, and go on."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time

import duckdb
import psutil
import pytest

from loco.errors import InputError, RegistryBusy
from registry.database import waiting
from registry.registry import Registry
from tests.registry.builders import make_basis, make_model

_OPEN = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print(connection.sql("SELECT count(*) FROM directions").fetchone()[0], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def foreign(home):
    """Open the catalogue in a bare DuckDB of another process; a line on its standard input closes it."""
    started = []

    def start(mode):
        process = subprocess.Popen(
            [sys.executable, "-c", _OPEN, str(home.catalogue), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "2\n"
        return process

    yield start
    for process in started:
        if not process.stdout.closed:
            process.communicate("\n", timeout=30)


@pytest.fixture
def stocked(home):
    registry = Registry(home)
    registry.add(make_basis(0))
    return registry


def later(process, seconds):
    """Let the process end after so many seconds."""

    def end():
        with contextlib.suppress(OSError):
            process.stdin.write("\n")
            process.stdin.flush()

    threading.Timer(seconds, end).start()


def test_a_writer_waits_for_a_foreign_reader_and_says_for_whom(home, stocked, foreign, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "TELL_AFTER", 0.2)
    reader = foreign("read")
    later(reader, 1)
    stocked.label(stocked.find()[0].id, "kept")
    [said] = [one.getMessage() for one in caplog.records if one.name == "registry"]
    assert said.startswith(f"waiting up to 600 s for the catalogue {home.catalogue}: it is open in process ")
    assert f"process {reader.pid} ({sys.executable} -c " in said
    assert "which runs since 20" in said
    assert "\n" not in said, "a command line with line breaks is one line"
    assert list(stocked.labels().values()) == [["kept"]]


def test_readers_go_on_while_a_writer_waits_for_a_foreign_reader(stocked, foreign):
    reader = foreign("read")
    writer = threading.Thread(target=stocked.add_model, args=(make_model(),))
    writer.start()
    time.sleep(0.3)
    assert len(stocked.find()) == 2
    assert stocked.models() == []
    assert writer.is_alive()
    reader.communicate("\n", timeout=30)
    writer.join(30)
    assert [one.name for one in stocked.models()] == [make_model().name]


def test_a_reader_waits_for_a_foreign_writer(stocked, foreign):
    later(foreign("write"), 0.5)
    assert len(stocked.find()) == 2


def test_whoever_waited_long_enough_is_told_who_has_it_and_what_to_do(home, stocked, foreign):
    reader = foreign("read")
    with pytest.raises(RegistryBusy) as caught:
        Registry(home, timeout=0.3).add_model(make_model())
    message = str(caught.value)
    assert message.startswith(f"the catalogue {home.catalogue} is open in process {reader.pid} (")
    assert "(waited 0.3 s)" in message
    assert "LOCO_WAIT" in message
    assert "loco sql" in message
    assert type(caught.value) is RegistryBusy


def test_a_connection_in_this_very_process_is_not_called_damage(home, stocked):
    with duckdb.connect(str(home.catalogue), read_only=True), pytest.raises(RegistryBusy) as caught:
        stocked.add_model(make_model())
    assert "in this very process" in str(caught.value)


def test_the_environment_says_how_long(home, monkeypatch):
    assert Registry(home).catalogue.timeout == 600
    monkeypatch.setenv("LOCO_WAIT", "2.5")
    assert Registry(home).catalogue.timeout == 2.5
    assert Registry(home, timeout=1).catalogue.timeout == 1


@pytest.mark.parametrize("nonsense", ["soon", "-1", "nan", "inf", "1e9"])
def test_nonsense_for_a_time_is_refused_with_the_range(home, monkeypatch, nonsense):
    monkeypatch.setenv("LOCO_WAIT", nonsense)
    with pytest.raises(InputError, match="LOCO_WAIT: expected seconds from 0 to 604800, found"):
        Registry(home)


def test_a_process_whose_name_steers_the_terminal_is_told_in_plain_letters():
    with subprocess.Popen(["sleep", "60"], executable="/bin/sleep", stdin=subprocess.DEVNULL) as process:
        try:
            while not psutil.Process(process.pid).cmdline():  # it has none for a moment, while it begins
                time.sleep(0.01)
            assert waiting.process(process.pid).startswith(
                f"process {process.pid} (sleep 60), which runs since 2"
            )
        finally:
            process.kill()
    assert waiting.process(2**22 + 5) == f"process {2**22 + 5}"
    assert waiting._line("a\x1b[31m\nb") == "a?[31m?b"


def test_a_wait_for_our_own_lock_says_for_whom(home, stocked, worker, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "TELL_AFTER", 0.2)
    holder = worker("hold", "exclusive")
    assert holder.stdout.readline() == "held\n"
    later(holder, 1)
    with caplog.at_level(logging.WARNING):
        assert len(stocked.find()) == 2
    assert any(
        "is held by process" in one.getMessage() and str(holder.pid) in one.getMessage()
        for one in caplog.records
    )


@pytest.mark.slow
def test_a_reader_that_stays_for_a_minute_stops_no_one(home, stocked, foreign):
    later(foreign("read"), float(os.environ.get("LOCO_TEST_HELD", "60")))
    stocked.add_model(make_model())
    stocked.label(stocked.find()[0].id, "kept")
    assert stocked.verify() == []
