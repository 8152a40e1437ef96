"""The card: what programs read back, and that people are told the truth."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.zoo.card import draw_curve, write_card
from tests.toys import save_pipeline

CURVE = [
    {"images": 4000, "seconds": 100, "loss": 0.3, "explained": [0.68, 0.62, 0.55]},
    {"images": 10000, "seconds": 200, "loss": 0.1, "explained": [0.81, 0.77, 0.70]},
]
TRAINING = {
    "recipe": {"size": 8, "channels": [8, 16], "seed": 0},
    "images": 10000,
    "steps": 625,
    "seconds": 3600,
    "device": "cpu",
    "curve": CURVE,
}
FIGURES = {
    "parameters": 5593035,
    "t": 0.5,
    "step": 500,
    "alpha_bar": 0.4922,
    "seed": 7,
    "faces": 8,
    "reconstruction_psnr_db": {"steps": 50, "each": [50.0, 52.0], "mean": 51.0, "min": 50.0},
    "explained_variance": {"steps": [500, 600, 700], "of_64": [0.875, 0.84, 0.78], "of_8": [0.8, 0.7, 0.6]},
    "linearity": {
        "mouth": {
            "+4": {
                "cosine": {"median": 0.98, "mean": 0.97, "min": 0.93},
                "norm_ratio": {"median": 0.99, "mean": 0.99, "min": 0.97},
            }
        }
    },
    "locality": {"mouth": {"+4": None}},
    "dense_faces": 1,
    "rank_ratio": 0.73,
    "energy_top_20": 0.317,
    "asymmetry": 0.54,
}


@pytest.fixture
def folder(tmp_path):
    return save_pipeline(tmp_path / "tiny8", prediction_type="v_prediction")


def test_programs_read_back_what_was_written(folder):
    before = read_card(folder).id
    write_card(folder, TRAINING, FIGURES, 0.5)
    card = read_card(folder)
    assert card.id == before
    assert card.recommended_t == 0.5
    assert card.extra == {"recommended_t": 0.5, "training": TRAINING, "figures": FIGURES}


def test_people_are_told_the_figures_and_the_limits(folder):
    write_card(folder, TRAINING, FIGURES, 0.5)
    text = (folder / "README.md").read_text()
    for expected in (
        "# tiny8\n",
        "Recommended noise level t: **0.5**",
        "| images seen | 10,000 |",
        "| time | 60 minutes |",
        "| recipe: channels | 8, 16 |",
        "| parameters | 5,593,035 |",
        "![Explained variance of held-out images over training images](curve.png)",
        "| explained variance at training step 500 | 0.875 |",
        "51 dB, 50 dB",
        "| mouth | +4 | 0.98 | 0.93 | 0.99 | - |",
        "| rank ratio of the Jacobian (LOCO Edit, Eq. 10) | 0.73 |",
        "is 0.73, higher than the order of 0.10",
        "8 held-out faces (seed 7) at t = 0.5, training step 500",
    ):
        assert expected in text
    assert "None" not in text
    for part in text.split("\n\n"):
        lines = part.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1


def test_a_low_rank_ratio_is_not_called_high(folder):
    write_card(folder, TRAINING, FIGURES | {"rank_ratio": 0.08}, 0.5)
    assert "is 0.08, within the order of 0.10" in (folder / "README.md").read_text()


NOISED = [
    {
        "t": t,
        "step": 1,
        "alpha_bar": a,
        "log_snr": -1.0,
        "rank_ratio": ratio,
        "energy_top_20": 0.9,
        "trace": 0.02,
    }
    for t, a, ratio in ((0.4, 0.646, 0.35), (0.8, 0.094, 0.061), (0.9, 0.024, 0.038))
]


def test_the_rank_is_compared_with_the_papers_at_points_and_levels_like_the_papers(folder):
    """An earlier card held the rank at an inverted point of another level against the paper's."""
    write_card(folder, TRAINING, FIGURES | {"noised": NOISED}, 0.5)
    text = (folder / "README.md").read_text()
    assert "there it is 0.061 and 0.038 (t = 0.8 and 0.9), below that" in text
    assert "| 0.4 | 0.646 | -1 | 0.35 | 0.9 | 0.02 | - |" in text
    high = [row | {"rank_ratio": 0.2} for row in NOISED]
    write_card(folder, TRAINING, FIGURES | {"noised": high}, 0.5)
    assert "(t = 0.8 and 0.9), not below that" in (folder / "README.md").read_text()


def test_what_is_not_known_is_said_to_be_unknown(folder):
    write_card(folder, TRAINING, FIGURES, 0.5)
    write_card(folder, {}, {}, None)
    text = (folder / "README.md").read_text()
    assert "Recommended noise level t: not measured yet." in text
    assert "Not recorded." in text
    assert "Not measured yet: `loco zoo report --write-card` does." in text
    assert "curve.png" not in text
    assert not (folder / "curve.png").exists()
    assert read_card(folder).recommended_t is None


def test_a_failure_leaves_the_old_card_whole(folder):
    write_card(folder, TRAINING, FIGURES, 0.5)
    before = {name: (folder / name).read_bytes() for name in ("card.json", "README.md", "curve.png")}
    with pytest.raises(ValueError, match="JSON"):
        write_card(folder, TRAINING, FIGURES | {"asymmetry": float("nan")}, 0.6)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not list(folder.glob("*.partial"))


def test_a_folder_that_is_no_model_gets_no_card(tmp_path):
    with pytest.raises(ModelError):
        write_card(tmp_path, TRAINING, FIGURES, 0.5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("curve", [CURVE, CURVE[:1], [{"images": 4, "explained": [-3.0, -2.0, -1.0]}]])
def test_the_plot_has_its_three_lines(curve):
    image = Image.open(BytesIO(draw_curve(curve)))
    assert image.format == "PNG"
    assert image.size == (640, 360)
    pixels = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3)}
    assert {(31, 119, 180), (214, 108, 20), (44, 140, 60)} <= pixels


def test_the_plot_is_a_function_of_the_curve():
    assert draw_curve(CURVE) == draw_curve(json.loads(json.dumps(CURVE)))


@pytest.mark.parametrize("name", ["faces32", "faces64", "houses32"])
def test_each_model_of_the_zoo_draws_what_its_card_says(name):
    """The figures of the card are those of the weights beside it, on scenes that were not trained on."""
    from loco.zoo.report import HELD_OUT
    from loco.zoo.subjects import subject_of
    from loco.zoo.train import explained_variance

    card, denoiser = open_folder(model_folder(f"zoo:{name}"))
    told, training = card.extra["figures"], card.extra["training"]
    assert told["model"] == card.id
    assert card.recommended_t == told["t"]
    scenes = subject_of(training).scenes(HELD_OUT, 24, card.shape[1])
    x0 = torch.from_numpy(scenes.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    [found] = explained_variance(denoiser.network, denoiser.schedule.alpha_bar.float(), x0, (500,))
    assert found == pytest.approx(told["explained_variance"]["of_64"][0], abs=0.02)
