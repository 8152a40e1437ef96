"""Copies of the embedded catalogue: whole, made anew when it has changed, and closed to everything else."""

import os
import signal
import subprocess
import sys
import threading

import duckdb
import pytest

from loco.errors import InputError, RegistryError
from registry.database import waiting
from registry.registry import Registry
from registry.sql import copies
from registry.sql.question import Limits
from tests.registry.builders import make_basis, make_model


@pytest.fixture
def stocked(home):
    registry = Registry(home)
    registry.add(make_basis(0))
    return registry


def rows(registry, question, **limits):
    with registry.sql(Limits(**limits)) as reader:
        return [row for answer in reader.ask(question) for row in answer.rows()]


def kept(home):
    return sorted((home.cache / "snapshots").iterdir())


def test_a_copy_serves_until_the_catalogue_changes(home, stocked):
    first = copies.current(stocked.catalogue, home)
    assert copies.current(stocked.catalogue, home) == first
    stocked.add(make_basis(1))
    second = copies.current(stocked.catalogue, home)
    assert second != first
    assert kept(home) == [second]


def test_a_copy_has_what_only_the_log_tells(home, stocked, worker):
    """A killed writer leaves rows in the log that are not in the file yet."""
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
        "c.execute(\"INSERT INTO aliases VALUES ('a@b', 'x')\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(home.catalogue)], check=False)
    assert home.catalogue.with_name("catalogue.duckdb.wal").exists()
    assert rows(stocked, "SELECT name FROM aliases") == [("a@b",)]
    assert len(kept(home)) == 1, "and no log or half a file beside it"


def test_a_damaged_copy_is_made_anew(home, stocked):
    rows(stocked, "SELECT 1")
    [copy] = kept(home)
    copy.write_bytes(b"not a database")
    assert rows(stocked, "SELECT count(*) FROM directions") == [(2,)]


def test_who_asks_keeps_no_writer_waiting(home, stocked):
    with stocked.sql() as reader:
        answer = next(reader.ask("SELECT id FROM directions"))
        Registry(home, timeout=1).add_model(make_model())
        with stocked.sql() as other:
            assert [list(one.rows()) for one in other.ask("SELECT count(*) FROM models")] == [[(1,)]]
        assert len(list(answer.rows())) == 2


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM stocked",
        "ATTACH '{file}.duckdb' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "CALL enable_logging(storage = 'file', storage_path = '{file}.log')",
        "EXPORT DATABASE '{file}.export'",
        "COPY FROM DATABASE catalogue TO memory",
        "DETACH catalogue",
        "CHECKPOINT",
    ],
)
def test_no_other_file_is_reached_and_nothing_loaded_or_set(home, stocked, tmp_path, attack):
    file = tmp_path / "secret.csv"
    file.write_text("canary\n1\n")
    with pytest.raises(InputError, match=r"^sql: "):
        rows(stocked, attack.format(file=file))
    assert {one.name for one in tmp_path.iterdir()} == {"secret.csv", "home"}


def test_what_needs_too_much_memory_ends_with_the_remedy(stocked):
    with pytest.raises(RegistryError, match=r"needs more memory than 50MB; .* --max-memory"):
        rows(stocked, "SELECT list(range) FROM range(100000000)", memory="50MB")


def test_ctrl_c_ends_the_question(stocked):
    # Whoever runs tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        rows(stocked, "SELECT count(*) FROM range(100000000000) a, range(1000) b")
    signal.signal(signal.SIGINT, before)
    assert rows(stocked, "SELECT 1") == [(1,)]


def test_a_pivot_and_a_temporary_table_are_questions_too(stocked):
    assert rows(stocked, "CREATE TEMP TABLE mine AS SELECT 7 AS n; FROM mine") == [(7,)]
    assert rows(stocked, "PIVOT (SELECT roi, 1 AS n FROM directions) ON roi USING sum(n)") == [(2,)]


def test_a_snapshot_is_a_file_that_any_program_opens_and_holds(home, stocked, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "TELL_AFTER", 60)
    file = tmp_path / "for others.duckdb"
    assert stocked.snapshot(file) == file.stat().st_size
    with duckdb.connect(str(file)) as held:
        assert held.sql("SELECT count(*) FROM directions").fetchone() == (2,)
        Registry(home, timeout=1).add_model(make_model())
        with pytest.raises(InputError, match=r"for others\.duckdb exists; --replace takes its place"):
            stocked.snapshot(file)
    stocked.snapshot(file, replace=True)
    with duckdb.connect(str(file), read_only=True) as held:
        assert held.sql("SELECT count(*) FROM models").fetchone() == (1,)
    with pytest.raises(InputError, match="is the catalogue itself"):
        stocked.snapshot(home.catalogue, replace=True)
    assert [one.name for one in tmp_path.iterdir() if one != home.root] == ["for others.duckdb"]


def test_a_copy_without_room_leaves_nothing(home, stocked, tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from registry.home import Home; "
        "from registry.registry import Registry; resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)); "
        "Registry(Home(Path(sys.argv[1]))).snapshot(Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.root), str(tmp_path / "small" / "x.duckdb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot copy the catalogue" in done.stderr.splitlines()[-1]
    assert list((tmp_path / "small").iterdir()) == []
