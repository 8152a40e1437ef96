import csv
import os
import pty
import subprocess
import sys

import pytest
from pyarrow import ipc, parquet

QUERY = "SELECT roi, count(*) AS n FROM directions GROUP BY roi ORDER BY roi"


def test_a_table_for_people_and_lines_for_programs(loco, filled):
    assert loco("sql", QUERY).out == "roi    n\nhair   6\nmouth  1"
    assert loco("sql", "--json", QUERY).json == [{"roi": "hair", "n": 6}, {"roi": "mouth", "n": 1}]
    assert loco("sql", QUERY, "--format", "csv").out == "roi,n\nhair,6\nmouth,1"


def test_many_rows_are_cut_for_people_alone(loco, filled):
    many = "SELECT i FROM generate_series(1, 1500) AS g(i)"
    shown = loco("sql", many)
    assert len(shown.out.splitlines()) == 1001
    assert shown.err == "only the first 1000 rows are shown; --json and --out give all"
    assert len(loco("sql", "--json", many).json) == 1500


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "jsonl"])
def test_files(loco, filled, tmp_path, kind):
    file = tmp_path / f"found.{kind}"
    sketches = (
        "SELECT d.id, d.converged, s.sketch, 1 AS id FROM directions d JOIN sketches s USING (basis_id, row)"
    )
    assert loco("--json", "directions", "list", "--count").json == [{"count": 7}]
    assert "7" in loco("sql", sketches, "--out", file).out
    if kind == "parquet":
        assert parquet.read_table(file).column_names == ["id", "converged", "sketch", "id_2"]
    elif kind == "arrow":
        assert ipc.open_file(file).read_all().num_rows == 7
    elif kind == "csv":
        with file.open() as text:
            found = list(csv.reader(text))
        assert len(found) == 8
        assert found[1][1] in ("true", "false")
    else:
        assert len(file.read_text().splitlines()) == 7


def test_a_failing_question_leaves_the_file_as_it_was(loco, filled, tmp_path):
    file = tmp_path / "found.csv"
    file.write_text("mine")
    loco("sql", "SELECT nothing FROM directions", "--out", file, code=2)
    assert file.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


def test_a_file_of_statements(loco, filled, tmp_path):
    file = tmp_path / "two.sql"
    file.write_bytes(
        b"\xef\xbb\xbfCREATE TEMP VIEW v AS SELECT 1 AS a;\n-- and\nSELECT a FROM v; SELECT 2 AS b;\n"
    )
    assert loco("sql", file).out == "a\n1\nb\n2"
    assert "no file" in loco("sql", tmp_path / "missing.sql", code=2).err
    file.write_bytes(b"\xff\xfe\xff")
    assert "expected SQL in UTF-8" in loco("sql", file, code=2).err


@pytest.mark.parametrize(
    "words",
    [("--format", "parquet"), ("--json", "--format", "csv"), ("--out", "x.txt"), ("--max-memory", "x")],
)
def test_what_does_not_go_together_is_wrong_usage(loco, filled, words):
    loco("sql", "SELECT 1", *words, code=2)


def test_nothing_can_be_changed(loco, filled):
    assert "nothing can be changed here" in loco("sql", "DELETE FROM directions", code=2).err
    assert (
        "longer than 0.05 s"
        in loco("sql", "SELECT count(*) FROM range(99999999999)", "--timeout", "0.05", code=1).err
    )


def test_a_prompt_goes_on_after_errors(filled):
    """On a real terminal."""
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "--home", str(filled.home.root), "sql"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        os.close(terminal)
        os.write(main, b"selec 1;\nSELECT 41 + 1\nAS n;\n.tables\n.quit\n")
        out, _ = process.communicate(timeout=60)
    os.close(main)
    assert process.returncode == 0, out
    assert 'error: sql: Parser Error: syntax error at or near "selec"' in out
    assert "n\n42\n" in out
    assert "\ndirections    \n" in out
