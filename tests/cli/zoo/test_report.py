from functools import partial

import pytest

from loco.models.card import read_card
from loco.recipes import DiscoverRecipe
from tests.toys import save_pipeline, tiny_network


@pytest.fixture
def model(tmp_path, monkeypatch):
    from loco.zoo import report

    for name, value in {
        "RECONSTRUCTION_STEPS": 4,
        "EDIT_STEPS": 2,
        "NOISE_DRAWS": 1,
        "VARIANCE_FACES": 4,
    }.items():
        monkeypatch.setattr(report, name, value)
    monkeypatch.setattr(report, "LEVELS", (0.4, 0.6))
    monkeypatch.setattr(report, "DiscoverRecipe", partial(DiscoverRecipe, max_rounds=2, null_rank=1))
    folder = tmp_path / "model"
    save_pipeline(folder, network=tiny_network(sample_size=16), prediction_type="v_prediction")
    (folder / "card.json").write_text('{"training": {"images": 12, "recipe": {"seed": 0}}}')
    return folder


def test_figures_are_shown_and_written_to_the_card(loco, model):
    options = ("zoo", "report", "--model", model, "--faces", 1, "--strength", 2, "--dense", 0)
    assert "recommends no noise level" in loco(*options, code=2).err
    [figures] = loco(*options, "--t", 0.5, "--json").json
    assert figures["linearity"]["mouth"].keys() == {"+2", "-2"}
    assert read_card(model).recommended_t is None

    outcome = loco(*options, "--t", 0.5, "--write-card")
    for expected in (
        "0.5 (step 500",
        "explained variance",
        "rank ratio            -",
        "-2",
    ):
        assert expected in outcome.out
    assert "card.json" in outcome.err
    card = read_card(model)
    assert card.recommended_t == 0.5
    assert card.extra["training"] == {"images": 12, "recipe": {"seed": 0}}
    assert card.extra["figures"] == figures
    assert "| images seen | 12 |" in (model / "README.md").read_text()

    [again] = loco(*options, "--json").json  # at the recommended level
    assert again == figures


def test_a_sweep_is_a_table(loco, model):
    options = ("zoo", "report", "--model", model, "--sweep", "--faces", 1, "--strength", 2)
    rows = loco(*options, "--json").json
    assert [row["t"] for row in rows] == [0.4, 0.6]
    outcome = loco(*options)
    title, *lines = outcome.out.splitlines()
    assert title.split()[:2] == ["t", "step"]
    assert [line.split()[0] for line in lines] == ["0.4", "0.6"]
    assert "measuring: 4 of 4" in outcome.err


@pytest.mark.parametrize("option", [("--t", 0.5), ("--write-card",)])
def test_a_sweep_goes_with_no_single_level(loco, option):
    assert "--sweep compares" in loco("zoo", "report", "--sweep", *option, code=2).err


def test_a_strength_of_nothing_is_refused(loco):
    assert "--strength 0" in loco("zoo", "report", "--strength", 0, code=2).err


def test_unknown_models_are_named(loco, tmp_path):
    assert "does not exist" in loco("zoo", "report", "--model", "zoo:nobody", code=1).err
    assert "does not exist" in loco("zoo", "report", "--model", tmp_path / "none", code=1).err
