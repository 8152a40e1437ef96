"""The two readers that come with the package: small, and as good on unseen faces as their cards say."""

import numpy as np
import pytest
import torch

from loco.scorers.opening import READERS, open_scorer
from loco.scorers.reader import read_reader
from loco.zoo.faces import ATTRIBUTES, render, sample_attributes
from loco.zoo.train_reader import RECIPES, augmented, normalised

SEED = 90_210
"""Of faces that no reader was trained or measured on."""


@pytest.mark.parametrize("name", ["reader", "judge"])
def test_a_reader_explains_unseen_faces_as_its_card_says_and_blurred_noisy_ones_nearly_as_well(name):
    path = READERS / f"{name}.safetensors"
    assert path.stat().st_size <= 4 << 20
    card, scorer = read_reader(path)
    assert card.names == tuple(one.name for one in ATTRIBUTES)
    values = sample_attributes(np.random.default_rng(SEED), 384)
    truth = normalised(torch.from_numpy(values))
    images = torch.from_numpy(render(values, 32)).permute(0, 3, 1, 2).float() / 127.5 - 1
    spread = (truth - truth.mean(0)).square().mean(0)
    clean, rough = (
        1 - (scorer(shown) - truth).square().mean(0) / spread
        for shown in (images, augmented(images, torch.Generator().manual_seed(0)))
    )
    assert clean.mean() > 0.88
    assert torch.allclose(clean, torch.tensor(card.r2), atol=0.12)
    assert rough.mean() > 0.85


def test_the_judge_is_another_network_of_another_seed_than_the_reader():
    reader, judge = (read_reader(READERS / f"{name}.safetensors")[0] for name in ("reader", "judge"))
    assert reader.kind != judge.kind
    assert reader.training["seed"] != judge.training["seed"]
    assert {reader.training["seed"], judge.training["seed"]} == {RECIPES[one].seed for one in RECIPES}


def test_a_zoo_scorer_says_what_each_number_means():
    scorer = open_scorer("zoo:reader")
    assert scorer.words[scorer.column("mouth_openness")] == ("mouth closes", "mouth opens")
    assert scorer.unit == "the attribute's range"
