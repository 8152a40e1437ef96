"""Reading leaves no file open, keeps its instance, and never keeps a writer out."""

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from registry.database import reading
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis


def open_files():
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(one.readlink().name)
    return [name for name in found if "duckdb" in name and not name.endswith((".lock", ".gate"))]


@pytest.fixture
def stocked(home):
    registry = Registry(home)
    registry.add(make_basis(), make_basis(1))
    return registry


def test_no_file_stays_open_and_others_may_write(stocked):
    assert len(stocked.find()) == 4
    assert open_files() == []
    code = (
        f"import duckdb; duckdb.connect({str(stocked.home.catalogue)!r}).execute('CREATE TABLE more (i INT)')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    stocked.add(make_basis(2))
    assert len(stocked.find()) == 6


def test_the_instance_stays(stocked, monkeypatch):
    stocked.find()
    monkeypatch.setattr(duckdb, "connect", None)
    assert len(stocked.find()) == len(Registry(stocked.home).find()) == 4


def test_reads_at_once_and_one_within_another(stocked):
    waiting = threading.Barrier(4, timeout=30)

    def work(session):
        waiting.wait()
        return len(stocked.find())

    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(stocked.catalogue.read, work, 0) for _ in range(4)]
        assert [one.result() for one in found] == [4] * 4
    assert open_files() == []


def test_an_error_while_reading_costs_nothing(stocked):
    def work(session):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        stocked.catalogue.read(work, None)
    assert open_files() == []
    assert len(stocked.find()) == 4


def test_a_forked_child_has_instances_of_its_own(stocked):
    stocked.find()
    assert reading._idle[os.getpid()]
    child = os.fork()
    if not child:
        os._exit(0 if len(stocked.find()) == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(stocked.find()) == 4


def test_a_home_with_a_quote_in_its_name(tmp_path):
    registry = Registry(Home(tmp_path / 'it\'s; DROP "me"'))
    registry.add(make_basis())
    assert len(registry.find()) == 2
