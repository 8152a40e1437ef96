"""Subspaces of images put together: blind to signs and rotations, in as many groups as the set has kinds of images."""

import pytest
import torch

from loco.aligned import Found, aligned, grouped, responses
from loco.recipes import DiscoverRecipe
from tests.toys import angle, orthonormal

RECIPE = DiscoverRecipe(t=0.5, rank=2, null_rank=2)
SIZE = 60


def images(count, kinds=1, noise=0.05, seed=0):
    """Images whose subspaces are turned, signed and disturbed copies of those of their kind."""
    generator = torch.Generator().manual_seed(seed)
    true = orthonormal(2 * kinds, SIZE, generator)
    rest = orthonormal(2, SIZE, generator)
    found = []
    for number in range(count):
        own = true[2 * (number % kinds) : 2 * (number % kinds) + 2]
        turn, _ = torch.linalg.qr(torch.randn((2, 2), generator=generator, dtype=torch.float64))
        rows = (
            turn @ own + noise * torch.randn((2, SIZE), generator=generator, dtype=torch.float64) / SIZE**0.5
        )
        right = torch.linalg.qr(rows.T)[0].T
        values = torch.tensor([1.0, 0.9], dtype=torch.float64) * (1 + number)
        found.append(
            Found(f"{number:064x}", right, values, rest, torch.tensor([2.0, 1.0], dtype=torch.float64))
        )
    return found, true, rest


def test_one_kind_of_images_is_one_group_whose_span_is_theirs_whatever_signs_and_rotations():
    found, true, rest = images(12)
    [group] = aligned(found, RECIPE)
    assert group.members == tuple(range(12))
    wanted = true - (true @ rest.T) @ rest
    assert angle(group.vectors, torch.linalg.qr(wanted.T)[0].T) < 0.05
    assert float((group.vectors @ rest.T).abs().max()) < 1e-6


def test_two_kinds_are_two_groups_of_which_one_mean_would_be_wrong():
    found, true, _ = images(13, kinds=2)
    assert grouped(found, 2) == [tuple(range(0, 13, 2)), tuple(range(1, 13, 2))]
    first, second = aligned(found, RECIPE)
    assert angle(first.vectors, true[:2]) < 0.3
    assert angle(second.vectors, true[2:]) < 0.3


def test_what_the_kept_vectors_say_of_any_direction_is_a_lower_bound_of_its_response():
    """Against the whole matrix of which two of five singular vectors were kept."""
    generator = torch.Generator().manual_seed(1)
    right = orthonormal(5, SIZE, generator)
    values = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    found = Found("0" * 64, right[:2], values[:2], right[2:3], values[2:3])
    directions = orthonormal(4, SIZE, generator)
    inside, _ = responses(found, directions)
    exact = ((directions @ right.T).square() @ values.square()).sqrt()
    assert bool((inside <= exact + 1e-12).all())
    inside, outside = responses(found, right[:3])
    torch.testing.assert_close(inside, torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(outside, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), atol=1e-9, rtol=0)


def test_nothing_found_anywhere_is_told():
    with pytest.raises(ValueError, match="expected at least one image with singular vectors"):
        aligned([], RECIPE)
