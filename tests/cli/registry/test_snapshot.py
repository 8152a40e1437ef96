import duckdb


def test_a_snapshot_for_other_programs(loco, filled, tmp_path):
    file = tmp_path / "others.duckdb"
    outcome = loco("--json", "registry", "snapshot", file)
    assert outcome.json == [{"file": str(file), "bytes": file.stat().st_size}]
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM directions").fetchone() == (7,)
    assert "--replace takes its place" in loco("registry", "snapshot", file, code=2).err
    loco("registry", "snapshot", file, "--replace")
