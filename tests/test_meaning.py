"""What edits mean to a scorer: means with intervals, the signed-rank test against chance, and words."""

import numpy as np
import pytest

from loco.measure.meaning import Moved, holm, moved, named, signed_rank

WORDS = (("mouth closes", "mouth opens"), ("lips paler", "lips redder"), ("head up", "head down"))


def test_the_signed_rank_test_is_that_of_all_signs_of_the_ranks():
    assert signed_rank(np.array([0.1, 0.5, 2.0, 0.3, 0.4])) == 2 / 32
    assert signed_rank(np.array([-0.1, 0.5, 2.0, 0.3, 0.4])) == 4 / 32  # the least of five ranks falls
    assert signed_rank(np.array([0.1, 0.5, -2.0, 0.3, 0.4])) == 20 / 32  # the greatest does
    assert signed_rank(np.array([1.0, -1.0, 1.0, -1.0])) == signed_rank(np.zeros(3)) == 1


def test_beyond_the_exact_count_the_normal_distribution_says_nearly_the_same(monkeypatch):
    changes = np.random.default_rng(3).normal(size=50) + 0.4
    exact = signed_rank(changes)
    monkeypatch.setattr("loco.measure.meaning.EXACT", 10)
    assert signed_rank(changes) == pytest.approx(exact, rel=0.2)


def test_holm_multiplies_by_how_many_are_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_numbers_that_move_are_told_from_those_that_do_not():
    rng = np.random.default_rng(3)
    before = rng.normal(size=(24, 3))
    change = rng.normal(size=(24, 3)) * 0.1 + np.array([0.3, -0.2, 0.0])
    found = moved(before, before + change, ("mouth", "lips", "head"))
    assert [one.beyond_chance for one in found] == [True, True, False]
    assert found[0].change == pytest.approx(change[:, 0].mean())
    for one, k in zip(found, range(3), strict=True):
        assert one.low < change[:, k].mean() < one.high
        assert one.high - one.low == pytest.approx(2 * 1.96 * change[:, k].std() / 24**0.5, rel=0.2)
    assert found[1].agreeing == pytest.approx((change[:, 1] < 0).mean())
    assert named(found, WORDS).text == "mouth opens, lips paler"


def test_of_fifty_numbers_without_effect_hardly_one_in_twenty_tables_has_a_name():
    rng = np.random.default_rng(1)
    names, words = [str(k) for k in range(50)], [("less", "more")] * 50
    tables = [moved(np.zeros((24, 50)), rng.normal(size=(24, 50)), names) for _ in range(60)]
    assert (
        sum(named(one, words) is not None for one in tables) <= 6
    )  # 3 are expected; 7 or more once in 30 times


def test_the_greatest_changes_are_said_first_and_the_small_ones_not_at_all():
    def one(name, change, rising=1.0, chance=0.001):
        return Moved(name, change, change - 0.01, change + 0.01, rising, chance)

    found = [one("mouth", -0.1, 0.0), one("lips", 0.3, 0.9), one("head", 0.2, 1.0)]
    name = named(found, WORDS)
    assert (name.text, name.score) == ("lips redder, head down", 0.9)
    assert named([one("mouth", 0.3, chance=0.2)], WORDS[:1]) is None


def test_a_number_that_never_moves_is_chance_and_no_image_is_refused():
    [still] = moved(np.ones((8, 1)), np.ones((8, 1)), ("x",))
    assert (still.change, still.chance) == (0, 1)
    with pytest.raises(ValueError, match="at least one image"):
        moved(np.ones((0, 1)), np.ones((0, 1)), ("x",))
