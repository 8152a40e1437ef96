"""Synthetic houses: exact regions, attributes that move what they say, and nothing that is always there or never."""

import numpy as np
import pytest

from loco.zoo.houses import ATTRIBUTES, HOUSES, LAYERS, REGIONS


@pytest.fixture(scope="module")
def sampled():
    return HOUSES.scenes(3, 64, 32)


def test_regions_partition_the_image_and_windows_are_the_union(sampled):
    assert tuple(sampled.masks) == REGIONS
    assert (np.stack([sampled.masks[name] for name in LAYERS]).sum(0) == 1).all()
    assert np.array_equal(
        sampled.masks["windows"], sampled.masks["left_window"] | sampled.masks["right_window"]
    )


def test_chimney_tree_and_sun_are_absent_from_some_and_the_house_from_none(sampled):
    for name in ("chimney", "tree", "sun"):
        assert 0.2 < sampled.masks[name].any((1, 2)).mean() < 0.8
    for name in ("roof", "wall", "door", "sky", "ground"):
        assert sampled.masks[name].any((1, 2)).all()


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("roof_a", "roof"),
        ("door_brightness", "door"),
        ("window_light", "windows"),
        ("wall_b", "wall"),
        ("ground_brightness", "ground"),
        ("sky_a", "sky"),
        ("tree_autumn", "tree"),
    ],
)
def test_a_colour_changes_its_region_and_nothing_else(name, region):
    low, high = (HOUSES.values(tree=1.0, **{name: value}) for value in (0.2, 0.8))
    one, other = HOUSES.rendered(low, 64), HOUSES.rendered(high, 64)
    change = np.abs(one.images.astype(float) - other.images)[0].sum(-1)
    inside = one.masks[region][0]
    assert change[inside].mean() > 5
    assert change[inside].sum() > 0.85 * change.sum()  # the rest is soft edges


def test_every_attribute_changes_the_picture():
    base = {"tree": 1.0, "sun": 1.0, "chimney": 1.0}
    for one in ATTRIBUTES:
        ends = [HOUSES.values(**(base | {one.name: value})) for value in (one.low, one.high)]
        first, second = (HOUSES.render(end, 48).astype(float) for end in ends)
        assert np.abs(first - second).max() > 8, one.name
