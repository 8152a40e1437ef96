"""What scores of one direction come to: shares, medians, intervals, distributions and examples."""

import pytest

from loco.measure.scores import carried


def images(*gains, alike=0.9, **more):
    return {f"{number:064d}": {"gain": gain, "alike": alike, **more} for number, gain in enumerate(gains)}


def test_shares_are_of_the_images_that_have_the_region_and_of_all():
    """Own gain 2: 0.1 responds, 0.09 does not. Two images lack the region."""
    figures = images(2.0, 1.0, 0.1, 0.09)
    figures |= {"f" * 64: {"gain": 3.0, "alike": 0.4}, "e" * 64: {"gain": 1.0, "alike": -1.0}}
    found = carried(figures, 2.0, absent=2)
    assert found["transfer"] == pytest.approx(3 / 6)  # one does not respond, two do something else
    assert found["responding"] == pytest.approx(5 / 8)
    assert found["no_op"] == pytest.approx(3 / 8)
    assert found["transfer_gain"] == 1.0
    assert found["transfer_cosine"] == 0.9
    assert found["transfer_leakage"] is None
    assert found["details"]["absent"] == 2


def test_of_images_without_the_region_none_responds_and_all_are_left_as_they_are():
    found = carried({}, 2.0, absent=7)
    assert (found["responding"], found["no_op"], found["transfer"]) == (0.0, 1.0, None)
    assert found["details"]["spread"]["responding"]["interval"] == [0.0, 0.0]
    assert carried({}, 2.0)["responding"] is None


def test_one_image_alone_has_no_others_to_be_alike():
    assert carried({"a" * 64: {"gain": 1.0}}, 1.0)["transfer"] == 1.0


def test_distributions_and_intervals_are_the_same_each_time_and_hold_the_median():
    figures = images(*range(1, 101), leakage=0.1)
    found = carried(figures, 1.0)
    assert found == carried(figures, 1.0)
    spread = found["details"]["spread"]["transfer_gain"]
    assert spread["quantiles"] == pytest.approx([5.95, 25.75, 50.5, 75.25, 95.05], rel=1e-3)
    assert spread["histogram"] == {"low": 1.0, "high": 100.0, "counts": [10] * 10}
    low, high = spread["interval"]
    # Of a uniform sample of n the median errs by range / (2 sqrt(n)): 5 of 100, so 95 % within about 10.
    assert 50.5 - 13 < low < 50.5 - 6
    assert 50.5 + 6 < high < 50.5 + 13
    assert found["details"]["spread"]["transfer_leakage"]["interval"] == [0.1, 0.1]


def test_the_interval_of_a_share_is_that_of_a_binomial():
    figures = images(*[1.0] * 50) | {f"{number:064x}": {"gain": 0.0} for number in range(10**6, 10**6 + 50)}
    found = carried(figures, 1.0)
    assert found["transfer"] == 0.5
    assert found["transfer_low"] == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    assert found["transfer_high"] == pytest.approx(0.5 + 1.96 * 0.05, abs=0.02)


def test_examples_are_who_responds_most_middling_and_hardly():
    figures = images(*range(1, 10))
    examples = carried(figures, 1.0)["details"]["examples"]
    by_gain = {one: [int(figures[image]["gain"]) for image in named] for one, named in examples.items()}
    assert by_gain == {"most": [9, 8, 7], "middling": [6, 5, 4], "hardly": [3, 2, 1]}
    few = carried(images(3.0, 2.0), 1.0)["details"]["examples"]
    assert sorted(image for named in few.values() for image in named) == sorted(images(3.0, 2.0))
