"""The benchmark itself; its claims at full size are slow."""

import pytest

from flows.studies import bench_apply as bench


def test_a_small_round(monkeypatch):
    monkeypatch.setattr(bench, "BARE", 16)
    monkeypatch.setattr(bench, "BATCHES", (4, 8))
    result = bench.bench_apply(6, 2, 1, 1)
    [one] = result["rounds"]
    assert one["first"]["evaluations"] == 2 * 2 + 1
    assert one["second"]["evaluations"] == 2
    assert result["reference_steps"] == 5
    assert result["psnr_straight"] > result["psnr_reference"]
    assert set(one["first"]["stages"]) == {"decode", "invert", "edit", "encode", "wait", "all"}
    shown = bench.figures(result)
    assert "5 evaluations an image" in shown["network busy"]
    assert shown["images"] == "6 at 2 steps, t = 0.4, on cpu"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_network_is_kept_busy():
    """At 256 images, 10 steps: what `loco bench apply` shows."""
    result = bench.bench_apply(256, 10, 3, 8)
    print(bench.figures(result))
    assert result["busy"] >= 0.85
    assert result["times_reference"] >= 5
    assert result["psnr_straight"] >= result["psnr_reference"]
    assert result["times_first"] >= 1.8
