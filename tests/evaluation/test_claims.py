"""The paper's claims: a linear posterior mean answers yes to each, one that saturates does not, and bars are read."""

import numpy as np
import pytest
import torch

from loco.diffusion.schedule import Schedule
from loco.errors import InputError
from loco.evaluation.claimed import Asked, Face, measured
from loco.evaluation.claims import (
    ABSENT,
    COMPOSE,
    LINEAR,
    LOW_RANK,
    RANGE,
    answers,
    quick,
    read_bars,
    verdict,
)
from loco.evaluation.identity import columns, identities
from loco.evaluation.protocol import FILE
from loco.inversion import invert
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.faces import BALD, FACES
from tests.gaussian import GaussianDenoiser

SIZE = 8
BARS = read_bars()
SCHEDULE = Schedule("line", torch.linspace(0.9999, 0.001, 400, dtype=torch.float64))


def pattern(k):
    """A quarter of the image, of unit length."""
    whole = torch.zeros(3, SIZE, SIZE)
    y, x = divmod(k, 2)
    whole[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 1
    return whole / whole.norm()


PATTERNS = torch.stack([pattern(k) for k in range(4)])


def line():
    """Four quarters that vary each for itself, and nothing else: rank 4 of 192."""
    flat = PATTERNS.flatten(1)
    spread = torch.tensor([2.0, 1.9, 1.8, 1.7]) ** 2
    return GaussianDenoiser(torch.zeros(3, SIZE, SIZE), flat.T @ (spread[:, None] * flat), SCHEDULE)


class Saturates:
    """The same, whose means stop where each quarter has moved by a little."""

    def __init__(self, inner):
        self.inner, self.name, self.shape, self.schedule = inner, "saturates", inner.shape, inner.schedule

    def posterior_mean(self, x_t, t):
        return 0.1 * torch.tanh(self.inner.posterior_mean(x_t, t) / 0.1)


def block(k):
    """The region of pattern k."""
    return Roi(f"block{k}", (PATTERNS[k, 0] > 0).numpy(), "test")


def rows_of(denoiser, lacking=None):
    """What is measured of one image, with two others."""
    recipe = DiscoverRecipe(t=0.5, steps=4, rank=1, null_rank=2)
    weights = torch.randn((3, 4), generator=torch.Generator().manual_seed(0))
    images = 0.1 * torch.einsum("bk,kchw->bchw", weights, PATTERNS)
    path = invert(denoiser, images, 0.5, 4)
    faces = [
        Face(f"{k:064x}", images[k : k + 1], path[k : k + 1], (block(0), block(3)))
        for k in range(len(images))
    ]

    def judge(batch):
        return torch.einsum("bchw,kchw->bk", batch, PATTERNS)

    asked = Asked(denoiser, judge, np.ones(4), np.ones(4), {}, recipe, BARS, 4, 0.05, 1e6, 0.5, 0.5)
    return measured(asked, faces[0], faces[1:], lacking, dense=True)


@pytest.fixture(scope="module")
def straight():
    return answers(rows_of(line()), BARS)


def figures(found):
    """By figure: what was found at each setting."""
    return {(one.question.figure, one.setting): one.found.value for one in found}


def test_a_linear_posterior_mean_of_rank_4_of_192_answers_yes_with_the_numbers_of_its_closed_form(straight):
    found = figures(straight)
    for figure, wanted in (
        ("rank_ratio", 4 / 192),
        ("cosine", 1),
        ("norm_ratio", 0),
        ("linear_pixels", 1),
        ("linear_meaning", 1),
        ("smooth", 1),
        ("preserved", 0),
        ("composed_pixels", 0),
        ("composed_meaning", 1),
        ("transfer", 1),
        ("level_transfer", 1),
    ):
        values = [value for (name, _), value in found.items() if name == figure]
        assert values, figure
        assert values == pytest.approx([wanted] * len(values), abs=2e-3), figure
    for claim in (LOW_RANK, LINEAR, COMPOSE):
        assert verdict(claim, straight) is True
    assert verdict(ABSENT, straight) is None  # nobody here can draw images without the feature


def test_each_level_of_the_paper_is_asked_and_the_models_own_stands_beside_without_a_bar(straight):
    ranks = [one for one in straight if one.question.figure == "rank_ratio"]
    assert [one.bar for one in ranks] == [BARS.rank_ratio] * len(BARS.levels) + [None]
    assert [one.holds for one in ranks] == [True] * len(BARS.levels) + [None]


def test_a_posterior_mean_that_saturates_is_no_longer_linear_nor_are_its_edits():
    found = answers(rows_of(Saturates(line())), BARS)
    assert verdict(LINEAR, found) is False
    assert verdict(RANGE, found) is False


def test_a_claim_holds_where_all_that_was_asked_of_it_does_and_its_interval_says_how_sure_that_is():
    def row(image, value, setting="a", figure="rank_ratio"):
        return {"figure": figure, "setting": setting, "image": image, "value": value, "asked": True}

    near = [row(f"i{k}", 0.05 + 0.01 * k) for k in range(10)]  # median 0.095
    found = answers(near, BARS)
    assert (found[0].holds, found[0].certain) == (True, False)
    assert verdict(LOW_RANK, found) is True
    found = answers(near + [row(f"i{k}", 0.5, "b") for k in range(10)], BARS)
    assert [(one.holds, one.certain) for one in found] == [(True, False), (False, True)]
    assert verdict(LOW_RANK, found) is False


def test_a_feature_that_is_absent_is_edited_by_a_linear_mean_all_the_same_and_that_is_told():
    denoiser = line()
    bare = invert(denoiser, torch.zeros(2, 3, SIZE, SIZE), 0.5, 4)
    found = answers(rows_of(denoiser, lambda: ("block0", bare, bare)), BARS)
    assert figures(found)["absent", "without block0"] == 1
    assert verdict(ABSENT, found) is False


def test_bald_faces_are_the_same_faces_without_hair():
    with_hair, bald = FACES.scenes(7, 3, 32), BALD.scenes(7, 3, 32)
    assert np.array_equal(with_hair.attributes, bald.attributes)
    assert not bald.masks["hair"].any()
    assert all(with_hair.masks["hair"].any((1, 2)))
    mouth = with_hair.masks["mouth"] & bald.masks["mouth"]
    apart = np.abs(with_hair.images[mouth].astype(int) - bald.images[mouth])
    assert np.median(apart) == 0
    top = np.abs(with_hair.images.astype(int) - bald.images)[with_hair.masks["hair"]]
    assert np.median(top) > 20


def test_identity_is_1_where_only_the_regions_own_changes_and_0_as_far_as_others_are():
    readings = np.array([[0.0, 0.0, 0.0], [9.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
    spread = readings.std(axis=0)
    assert identities(np.array([[5.0, 0.0, 0.0]]), [0], readings) == pytest.approx([1])
    apart = sorted([1 / spread[1], 1 / spread[2], np.hypot(1 / spread[1], 1 / spread[2])])[1]
    moved = np.array([[7.0, apart * spread[1], 0.0]])
    assert identities(moved, [0], readings) == pytest.approx([0])
    assert columns(("a", "b", "c"), {"mouth": ("c", "a")}, "mouth") == [0, 2]
    assert columns(("a", "b", "c"), {"mouth": ("c", "a")}, "hair") == []


def test_bars_that_are_missing_or_unknown_are_named(tmp_path):
    text = "[sizes]\nsources = 3\n[claims]\nimages = 3\ncolour = 1\n"
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=r"section claims: missing or unknown: absent, .*colour"):
        read_bars(tmp_path / "mine.toml")
    assert (quick(BARS).images, quick(BARS).dense, len(quick(BARS).levels)) == (1, 0, 1)
    assert quick(BARS).null_ranks == (0, 5)
    told = FILE.read_text().replace("levels = [0.0786, 0.0259, 0.007]", "levels = 0.08")
    (tmp_path / "mine.toml").write_text(told)
    with pytest.raises(InputError, match=r"levels must be a list of numbers, found 0\.08"):
        read_bars(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("images = 12", "images = 0", "images must be a whole number from 1 to 1000000, found 0"),
        ("dense = 4 ", "dense = false ", "dense must be a whole number from 0 to 1000000, found False"),
        ("0.0259,", '"a",', "each of levels must lie in (0, 1), found 'a'"),
        ("0, 1, 2, 5, 10", "0, -1", "each of null_ranks must be a whole number from 0 to 10000, found -1"),
        ("strength = 40.0", "strength = nan", "strength must lie in (0, 1000000], found nan"),
        ("smooth = 0.9", "smooth = 2", "smooth must lie in [0, 1], found 2"),
    ],
)
def test_a_bar_that_is_none_is_refused_with_its_key(tmp_path, old, new, said):
    path, text = tmp_path / "mine.toml", FILE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as refused:
        read_bars(path)
    assert str(refused.value) == f"protocol {path}, section claims: {said}"


def test_claims_that_are_no_section_are_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("claims = 1\n")
    with pytest.raises(InputError, match="expected the section claims, found claims = 1"):
        read_bars(tmp_path / "mine.toml")
