"""loco analyze: tables, figures and a recommended t for a registered model."""

import json
import math
import shutil
import signal

import pytest
from pyarrow import parquet

from loco.measure import analysis
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
    assert 0.4 <= told["recommended_t"] <= 0.6
    assert told["why"] in result.err
    assert told["why"].startswith(f"t = {told['recommended_t']:g}: ")
    assert parquet.read_table(out / "levels.parquet").to_pylist() == rows
    assert parquet.read_table(out / "strengths.parquet").num_rows == len(told["strengths"]) > 0
    for name in ("levels.png", "levels.svg", "strengths.png", "strengths.svg"):
        assert (out / name).stat().st_size > 1000
    shown = loco("--json", "model", "show", "tiny")
    assert shown.json[0]["recommended_t"] == told["recommended_t"]


def test_levels_can_be_said_by_signal_and_noise(loco, tmp_path):
    loco("model", "add", "tiny", save_pipeline(tmp_path / "model"))
    words = ("analyze", "--model", "tiny", "--images", "1", "--no-dense", "--out", tmp_path / "out")
    [row] = loco("--json", *words, "--t", "abar:0.3").json
    assert row["alpha_bar"] == pytest.approx(0.3, abs=0.003)
    assert row["log_snr"] == pytest.approx(math.log(3 / 7), abs=0.01)
    assert row["t"] == 0.342  # of the linear schedule


def test_a_named_region_needs_a_dataset(loco, tmp_path):
    folder = save_pipeline(tmp_path / "model")
    loco("model", "add", "tiny", folder)
    result = loco("analyze", "--model", "tiny", "--roi", "hair", "--out", tmp_path / "out", code=2)

    assert "region 'hair' needs a dataset that has it; add --dataset, or give a box" in result.err
    assert not (tmp_path / "out").exists()


def test_levels_finished_before_an_interruption_are_kept_and_the_same_command_goes_on(
    loco, tmp_path, monkeypatch
):
    loco("model", "add", "tiny", save_pipeline(tmp_path / "model"))
    words = ("analyze", "--model", "tiny", "--t", "0.4", "--t", "0.6", "--images", "1", "--no-dense")
    whole = loco("--json", *words, "--out", tmp_path / "whole").json
    shutil.rmtree(tmp_path / "home" / "cache")
    real, levels = analysis.invert, []

    def interrupted(denoiser, x0, t, *rest):
        levels.append(t)
        if levels == [0.4, 0.6]:
            signal.raise_signal(signal.SIGINT)  # what the terminal sends for Ctrl-C
        return real(denoiser, x0, t, *rest)

    monkeypatch.setattr(analysis, "invert", interrupted)
    former = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what runs in the background ignores it
    try:
        outcome = loco(*words, "--out", tmp_path / "out", code=130)
    finally:
        signal.signal(signal.SIGINT, former)
    assert outcome.err.endswith(
        "error: interrupted; finished noise levels are kept, the same command goes on from there"
    )
    again = loco("--json", *words, "--out", tmp_path / "out")
    assert levels == [0.4, 0.6, 0.6]  # 0.4 was measured once
    assert "t 0.4 is known from before" in again.err
    assert again.json == whole
    loco(*words, "--others", "--out", tmp_path / "other")  # other settings: other levels
    assert levels == [0.4, 0.6, 0.6, 0.4, 0.6]


def test_a_damaged_level_is_measured_again(loco, home, tmp_path):
    loco("model", "add", "tiny", save_pipeline(tmp_path / "model"))
    words = ("--json", "analyze", "--model", "tiny", "--t", "0.4", "--images", "1", "--no-dense")
    first = loco(*words, "--out", tmp_path / "one").json
    (entry,) = home.cache.glob("??/*.safetensors")
    data = bytearray(entry.read_bytes())
    data[-20] ^= 1
    entry.write_bytes(data)
    again = loco(*words, "--out", tmp_path / "two")
    assert again.json == first
    assert "known from before" not in again.err
