"""Analysis: on models whose Jacobians are known in closed form, and on a network with a middle block."""

import io

import pytest
from PIL import Image

from loco.measure.analysis import analyze
from loco.measure.figures import levels_figure, strengths_figure
from loco.models.diffusers_folder import open_folder
from tests.toys import box, factors, gaussian, save_pipeline

SHAPE = (3, 6, 6)
PATCH = box("patch", SHAPE, 1, 4, 1, 4)


def test_a_gaussian_is_linear_symmetric_and_of_its_own_rank():
    denoiser = gaussian(factors(12, SHAPE))
    x0 = factors(1, SHAPE, seed=8)[0]
    rows, strengths, recommended = analyze(denoiser, [x0], [[PATCH]], levels=(0.4, 0.7))
    assert [row["t"] for row in rows] == [0.4, 0.7]
    assert recommended in (0.4, 0.7)
    for row in rows:
        assert row["rank_ratio"] <= 12 / 108
        assert row["asymmetry"] < 1e-12
        assert row["energy_top_20"] == pytest.approx(1)
        assert row["linear_range"] == 64
        assert row["rank_ratio_eps_x"] > 0.8  # the noise's Jacobian is the identity less a few directions
    assert {row["direction"] for row in strengths} == {"found", "random"}
    for row in strengths:
        if row["direction"] == "found":
            assert row["norm_ratio"] == pytest.approx(1)
            assert row["cosine"] == pytest.approx(1)
            assert row["cosine_of_changes"] == pytest.approx(1)


def test_the_middle_block_s_jacobians_compose_to_less_than_the_whole(tmp_path):
    """df/dh dh/dx is the part of J that runs through the middle block; the skips carry the rest."""
    card, denoiser = open_folder(save_pipeline(tmp_path))
    x0 = factors(1, card.shape, seed=3)[0].float()
    told = []
    rows, _, _ = analyze(
        denoiser,
        [x0],
        [[box("patch", card.shape, 1, 4, 1, 4)]],
        levels=(0.5,),
        others=True,
        progress=told.append,
    )
    [row] = rows
    for name in ("rank_ratio", "rank_ratio_eps_x", "rank_ratio_h_x", "rank_ratio_x0_h"):
        assert 0 < row[name] <= 1
    assert row["norm_x0_h"] > 0
    assert told == [1]


def test_what_was_not_measured_has_no_panel():
    rows = [{"t": t, "reach": 0.0} for t in (0.3, 0.5)]
    whole = [{**row, "rank_ratio": 0.5} for row in rows]
    width, both = (Image.open(io.BytesIO(levels_figure(one, 0.5, "png"))).size[0] for one in (rows, whole))
    assert both == 2 * width


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_are_pictures_and_the_same_bytes_twice(kind):
    rows = [{"t": t, "reach": t, "rank_ratio": 1 - t, "asymmetry": 0.1} for t in (0.3, 0.5)]
    strengths = [
        {"t": 0.3, "direction": "found", "strength": s, "norm_ratio": 1.0, "cosine_of_changes": 1.0}
        for s in (1, 2)
    ]
    for draw in (lambda: levels_figure(rows, 0.5, kind), lambda: strengths_figure(strengths, kind)):
        first = draw()
        assert first == draw()
        if kind == "png":
            assert Image.open(io.BytesIO(first)).size[0] > 800
        else:
            assert first.startswith(b"<?xml")
