import zipfile


def test_a_home_in_a_file(loco, filled, tmp_path):
    out = tmp_path / "backup.zip"
    [record] = loco("registry", "backup", out, "--json").json
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
    assert record == {"files": len(names), "file": str(out)}
    assert {"catalogue.duckdb", "models/faces.json", "datasets/portraits.json"} <= set(names)
    assert not [name for name in names if name.endswith((".lock", ".partial"))]
