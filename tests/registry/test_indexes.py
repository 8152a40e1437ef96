"""The embedded catalogue has no secondary index: DuckDB's lose rows, as the slow test here shows."""

import subprocess
import sys

import duckdb
import pytest

CHILD = """
import os, signal, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def asked(path, *statements):
    """The last statement's rows, in a connection of their own."""
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            result = connection.execute(statement)
        return result.fetchall()


def test_the_embedded_catalogue_has_no_secondary_index(filled, home):
    filled.label(filled.find(limit=1)[0].id, "smile")
    assert asked(home.catalogue, "SELECT index_name FROM duckdb_indexes()") == []
    kinds = asked(home.catalogue, "SELECT DISTINCT constraint_type FROM duckdb_constraints()")
    assert {kind for (kind,) in kinds} <= {"PRIMARY KEY", "UNIQUE", "NOT NULL"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "found"),
    [("CREATE INDEX i ON t (a)", 0), ("CREATE UNIQUE INDEX i ON t (a)", 0), (None, 1)],
    ids=["index", "unique index", "primary key"],
)
def test_after_a_kill_and_a_reopening_a_lookup_by_an_index_finds_nothing(tmp_path, index, found):
    """If the index ones fail, DuckDB has mended it: then indexes may be thought of again."""
    path = tmp_path / "x.duckdb"
    key = "" if index else " PRIMARY KEY"
    asked(
        path,
        f"CREATE TABLE t (a VARCHAR{key}, b INTEGER)",
        "INSERT INTO t SELECT 'k' || i, i FROM range(5000) r(i)",
        index or "SELECT 1",
    )
    killed = subprocess.run(
        [sys.executable, "-c", CHILD, path, "INSERT INTO t VALUES ('new', 1)"], check=False, timeout=60
    )
    assert killed.returncode == -9
    asked(path, "SELECT 1")  # replays the log and does not touch the index
    assert asked(path, "SELECT count(*) FROM t WHERE a || '' = 'new'") == [(1,)]
    assert asked(path, "SELECT count(*) FROM t WHERE a = 'new'") == [(found,)]
