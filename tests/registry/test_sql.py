"""SQL that is trusted with nothing, on both catalogues."""

import duckdb
import pytest

from loco.errors import InputError, RegistryError
from registry.sql.question import Limits
from tests.registry.builders import make_basis, make_model

BOTH = True


def ask(registry, question, **limits):
    """The last answer's rows, by column."""
    with registry.sql(Limits(**limits)) as reader:
        return [list(answer.records()) for answer in reader.ask(question)][-1]


def test_the_rows_of_the_catalogue(filled):
    found = ask(filled, "SELECT id, gain FROM directions WHERE roi = 'hair' ORDER BY id")
    assert found == [{"id": one.id, "gain": one.gain} for one in filled.find(roi="hair", sort="id")]
    assert ask(filled, "SELECT count(*) AS n FROM directions WHERE false;") == [{"n": 0}]
    assert ask(filled, "SELECT 1 AS a, 2 AS a") == [{"a": 1, "a_2": 2}]
    assert ask(filled, "EXPLAIN SELECT 1")


def test_a_home_without_a_catalogue_reads_as_an_empty_one(registry, home, backend):
    if backend == "postgresql":
        registry.add_model(make_model())
    assert ask(registry, "SELECT id FROM directions") == []
    assert not home.catalogue.exists()


@pytest.mark.parametrize(
    "attack",
    [
        "DELETE FROM directions",
        "UPDATE directions SET gain = 0",
        "INSERT INTO aliases VALUES ('a@b', 'x')",
        "DROP TABLE directions",
        "CREATE TABLE mine (i INTEGER)",
        "TRUNCATE directions",
        "WITH gone AS (DELETE FROM directions RETURNING id) SELECT * FROM gone",
        "COPY directions TO '{file}'",
        "COPY (SELECT 1) TO '{file}'",
        "COPY directions FROM '{read}'",
        "COMMIT",
        "SELECT 1; COMMIT; DELETE FROM directions",
        "COMMIT; DELETE FROM directions; SELECT 1",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT 1 INTO mine",
        "EXPLAIN ANALYZE DELETE FROM directions",
        "DO $$ BEGIN DELETE FROM directions; END $$",
        "PREPARE gone AS DELETE FROM directions",
    ],
)
def test_nothing_is_written(filled, tmp_path, attack):
    read = tmp_path / "read.csv"
    read.write_text("secret\n")
    before, rows = filled.find(sort="id"), filled.summary()
    with pytest.raises(InputError, match=r"^sql: "):
        ask(filled, attack.format(file=tmp_path / "written", read=read))
    with filled.sql() as reader:
        for question in (
            attack.format(file=tmp_path / "written", read=read),
            "SELECT count(*) AS n FROM directions",
        ):
            try:
                found = [list(answer.records()) for answer in reader.ask(question)]
            except InputError:
                continue
        assert found == [[{"n": len(before)}]], "the reader goes on after an error"
    assert (filled.find(sort="id"), filled.summary()) == (before, rows)
    assert not (tmp_path / "written").exists()


def test_what_takes_too_long_ends_with_the_remedy(filled):
    with pytest.raises(RegistryError, match=r"^sql: the question took longer than 0\.2 s; .* --timeout"):
        ask(
            filled,
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) "
            "SELECT count(*) FROM n",
            seconds=0.2,
        )


@pytest.mark.parametrize(
    "question", ["", " ;\n", "\0", "selec 1", "SELECT " + "(" * 5000 + "1", "x" * 1_000_001]
)
def test_what_is_no_question_is_wrong_usage(filled, question):
    with pytest.raises(InputError, match=r"^sql: "):
        ask(filled, question)


def test_the_answer_is_of_one_moment(filled, backend):
    with filled.sql() as reader:
        if backend == "postgresql":
            answer = next(reader.ask("SELECT id FROM directions"))
        filled.add(make_basis(40))
        if backend == "duckdb":
            answer = next(reader.ask("SELECT id FROM directions"))
        assert len(list(answer.records())) == len(filled.find()) - 2
    assert len(ask(filled, "SELECT id FROM directions")) == len(filled.find())


def test_many_rows_come_in_batches(filled):
    with filled.sql() as reader:
        answer = next(reader.ask("SELECT CAST(i AS INTEGER) AS i FROM generate_series(1, 5000) AS g(i)"))
        assert [row["i"] for row in answer.records()] == list(range(1, 5001))
        answer = next(reader.ask("SELECT CAST(i AS INTEGER) AS i FROM generate_series(1, 5000) AS g(i)"))
        found = [value for batch in answer.source.batches() for value in batch.column(0).to_pylist()]
        assert found == list(range(1, 5001))


@pytest.mark.parametrize("memory", ["", "much", "-1GB", "1GB'; SET x", "99999999GB"])
def test_nonsense_for_memory_is_refused(filled, memory):
    with pytest.raises(InputError, match="memory: expected an amount such as 500MB or 2GB"):
        ask(filled, "SELECT 1", memory=memory)


def test_a_snapshot_is_a_duckdb_file_of_either(filled, tmp_path):
    file = tmp_path / "others.duckdb"
    filled.snapshot(file)
    with duckdb.connect(str(file)) as held:
        assert held.sql("SELECT count(*) FROM directions").fetchone() == (len(filled.find(status="all")),)
    assert {one.name for one in tmp_path.iterdir()} == {"others.duckdb", "home"}
