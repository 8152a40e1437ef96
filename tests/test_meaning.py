"""What edits mean to a scorer: means with intervals, the sign test against chance, and words."""

import numpy as np
import pytest

from loco.measure.meaning import Moved, holm, moved, named, sign_test

WORDS = (("mouth closes", "mouth opens"), ("lips paler", "lips redder"), ("head up", "head down"))


def test_the_sign_test_is_that_of_a_fair_coin():
    assert sign_test(5, 0) == sign_test(0, 5) == 2 / 32
    assert sign_test(4, 1) == 12 / 32
    assert sign_test(3, 3) == sign_test(0, 0) == 1


def test_holm_multiplies_by_how_many_are_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_numbers_that_move_are_told_from_those_that_do_not():
    rng = np.random.default_rng(0)
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
