"""loco analyze: tables, figures and a recommended t for a registered model."""

import json

from pyarrow import parquet

from tests.toys import save_pipeline


def test_tables_and_figures_are_written_and_the_level_is_kept(loco, home, tmp_path):
    folder, out = save_pipeline(tmp_path / "model"), tmp_path / "out"
    loco("model", "add", "tiny", folder)
    result = loco(
        "--json",
        "analyze",
        "--model",
        "tiny",
        "--t",
        "0.4",
        "--t",
        "0.6",
        "--images",
        "1",
        "--use",
        "--out",
        str(out),
    )

    rows = result.json
    assert [row["t"] for row in rows] == [0.4, 0.6]
    told = json.loads((out / "analysis.json").read_text())
    assert told["levels"] == rows
    assert told["recommended_t"] in (0.4, 0.6)
    assert parquet.read_table(out / "levels.parquet").to_pylist() == rows
    assert parquet.read_table(out / "strengths.parquet").num_rows == len(told["strengths"]) > 0
    for name in ("levels.png", "levels.svg", "strengths.png", "strengths.svg"):
        assert (out / name).stat().st_size > 1000
    shown = loco("--json", "model", "show", "tiny")
    assert shown.json[0]["recommended_t"] == told["recommended_t"]


def test_a_named_region_needs_a_dataset(loco, tmp_path):
    folder = save_pipeline(tmp_path / "model")
    loco("model", "add", "tiny", folder)
    result = loco("analyze", "--model", "tiny", "--roi", "hair", "--out", tmp_path / "out", code=2)

    assert "region 'hair' needs a dataset that has it; add --dataset, or give a box" in result.err
    assert not (tmp_path / "out").exists()
