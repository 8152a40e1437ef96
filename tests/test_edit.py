"""Edits of a Gaussian are linear, so what they do is known exactly."""

from itertools import pairwise

import pytest
import torch

from loco.diffusion import sampling
from loco.diffusion.sampling import sample
from loco.edit import change, combine, first_order, orthogonalise
from loco.inversion import Grid, invert, restore
from tests.toys import factors, gaussian

SHAPE = (3, 4, 4)
T, STEPS = 0.6, 12


@pytest.fixture
def denoiser():
    return gaussian(factors(5, SHAPE) / 2, mean=factors(1, SHAPE, seed=1)[0] / 10, noise=0.05)


@pytest.fixture
def prepared(denoiser):
    return invert(denoiser, factors(3, SHAPE, seed=2) / 2, T, STEPS)


def test_nothing_added_changes_nothing_and_costs_nothing(denoiser, prepared):
    told = []
    zero = change(denoiser, prepared, torch.zeros(SHAPE, dtype=torch.float64), told.append)
    assert torch.equal(zero, torch.zeros(3, *SHAPE, dtype=torch.float64))
    assert told == []


def test_the_change_is_linear_in_the_displacement(denoiser, prepared):
    first, second = factors(2, SHAPE, seed=3)
    one = change(denoiser, prepared, first)
    for strength in (-3.0, 0.5, 10.0):
        scaled = change(denoiser, prepared, strength * first)
        torch.testing.assert_close(scaled, strength * one, rtol=1e-8, atol=1e-10)
    both = change(denoiser, prepared, first + second)
    torch.testing.assert_close(both, one + change(denoiser, prepared, second), rtol=1e-8, atol=1e-10)


def test_every_image_changes_alike(denoiser, prepared):
    """Transfer is exact for a Gaussian: its Jacobian is the same everywhere."""
    done = change(denoiser, prepared, factors(1, SHAPE, seed=3)[0])
    torch.testing.assert_close(done, done[:1].expand_as(done), rtol=1e-8, atol=1e-10)


def test_an_eigenvector_is_scaled_by_the_product_of_its_steps(denoiser, prepared):
    """A step from a to b multiplies by sqrt(b) j + sqrt(1 - b) (1 - sqrt(a) j) / sqrt(1 - a).

    j = sqrt(a) w / (a w + 1 - a) is the eigenvalue of the Jacobian that belongs to the covariance's w.
    """
    weights, vectors = torch.linalg.eigh(denoiser.covariance)
    w, q = float(weights[-1]), vectors[:, -1].view(SHAPE)
    factor = 1.0
    for here, there in pairwise(denoiser.schedule.grid(T, STEPS)[::-1]):
        a, b = denoiser.schedule.at(here), denoiser.schedule.at(there)
        j = a**0.5 * w / (a * w + 1 - a)
        factor *= b**0.5 * j + ((1 - b) / (1 - a)) ** 0.5 * (1 - a**0.5 * j)
    assert factor > 0.5
    done = change(denoiser, prepared, 4.0 * q)
    torch.testing.assert_close(done, (4.0 * factor * q).expand_as(done), rtol=1e-8, atol=1e-10)


def test_an_image_costs_one_evaluation_a_step_and_one_at_t_and_each_edit_one_a_step(denoiser):
    told, x0 = [], factors(3, SHAPE, seed=2) / 2
    ready = invert(denoiser, x0, T, STEPS, told.append)
    assert told == [3] * (STEPS + 1)
    assert ready.grid == Grid(T, STEPS)
    change(denoiser, ready, factors(1, SHAPE, seed=3)[0], told.append)
    assert told == [3] * (2 * STEPS + 1)


@pytest.mark.parametrize("order", [1, 2])
def test_the_path_begins_at_the_image_and_ends_at_its_inversion(denoiser, order):
    x0 = factors(3, SHAPE, seed=2) / 2
    ready = invert(denoiser, x0, T, STEPS, order=order)
    assert torch.equal(ready.points[:, 0], x0)
    torch.testing.assert_close(ready.x_t, sampling.invert(denoiser, x0, T, STEPS, order=order))
    torch.testing.assert_close(ready.means[:, -1], denoiser.posterior_mean(ready.x_t, T))
    again = restore(denoiser, x0, ready.means, ready.grid)
    torch.testing.assert_close(again.points, ready.points)


@pytest.mark.parametrize("order", [1, 2])
def test_the_change_is_edited_minus_reconstruction(denoiser, order):
    """Exactly so where the model is linear, for either solver."""
    ready = invert(denoiser, factors(3, SHAPE, seed=2) / 2, T, STEPS, order=order)
    d = factors(1, SHAPE, seed=3)[0]
    edited, same = (sample(denoiser, x, T, STEPS, order=order) for x in (ready.x_t + d, ready.x_t))
    torch.testing.assert_close(change(denoiser, ready, d), edited - same, rtol=1e-8, atol=1e-10)


def test_images_without_effect_are_passed_through_and_cost_one_evaluation(denoiser, prepared):
    d = factors(1, SHAPE, seed=3)[0]
    felt = first_order(denoiser, prepared, d).flatten(1).norm(dim=1)
    told = []
    least = felt * torch.tensor([0.5, 2.0, 0.5])
    done = change(denoiser, prepared, d, told.append, least)
    whole = change(denoiser, prepared, d)
    assert told == [3] + [2] * (STEPS - 1)
    assert not done[1].any()
    torch.testing.assert_close(done[[0, 2]], whole[[0, 2]])


def test_the_first_order_response_is_the_jacobian(denoiser, prepared):
    d = torch.nn.functional.normalize(factors(1, SHAPE, seed=3).flatten(), dim=0).view(SHAPE)
    told = []
    response = first_order(denoiser, prepared, d, told.append)
    assert told == [3]
    x_t = prepared.x_t[0].flatten()
    dense = torch.autograd.functional.jacobian(
        lambda x: denoiser.posterior_mean(x.view(1, *SHAPE), T).flatten(), x_t
    )
    torch.testing.assert_close(response[0].flatten(), dense @ d.flatten())


def test_each_image_may_be_given_its_own_displacement(denoiser, prepared):
    d = factors(3, SHAPE, seed=6)
    d[1] = 0
    done = change(denoiser, prepared, d)
    assert not done[1].any()
    for k in (0, 2):
        torch.testing.assert_close(done[k], change(denoiser, prepared, d[k])[k])


def test_orthogonalised_directions_share_nothing_with_the_others():
    vectors, others = factors(2, SHAPE), factors(3, SHAPE, seed=1)
    twice = torch.cat([others, others[:1]])  # a span, not a basis
    made, left = orthogonalise(vectors, twice)
    flat = made.flatten(1)
    torch.testing.assert_close(flat @ others.flatten(1).T, torch.zeros(2, 3, dtype=flat.dtype))
    torch.testing.assert_close(flat.norm(dim=1), torch.ones(2, dtype=flat.dtype))
    assert ((left > 0) & (left <= vectors.flatten(1).norm(dim=1))).all()
    nothing, left = orthogonalise(others[:1] / others[0].norm(), others)
    assert not nothing.any()
    assert float(left) < 1e-6


def test_combine_is_the_weighted_sum():
    vectors = factors(3, SHAPE)
    expected = 2 * vectors[0] - 0.5 * vectors[1]
    torch.testing.assert_close(combine(vectors, [2.0, -0.5, 0.0]), expected)
    assert combine(vectors.float(), [1, 2, 3]).dtype == torch.float32


def test_combine_takes_one_strength_for_each_vector():
    with pytest.raises(RuntimeError, match="operand"):
        combine(factors(3, SHAPE), [1.0, 2.0])


def test_composed_edits_add_up(denoiser, prepared):
    vectors = factors(2, SHAPE, seed=5)
    together = change(denoiser, prepared, combine(vectors, [3.0, -2.0]))
    apart = 3 * change(denoiser, prepared, vectors[0]) - 2 * change(denoiser, prepared, vectors[1])
    torch.testing.assert_close(together, apart, rtol=1e-8, atol=1e-10)


class Doubled:
    """A codec whose images are twice the latents at twice the size."""

    image_shape = (3, 8, 8)

    def encode(self, images):
        return images[:, :, ::2, ::2] / 2

    def decode(self, x0):
        return 2 * x0.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.1


def test_the_change_of_a_latent_model_is_that_of_its_images(denoiser):
    denoiser.codec = Doubled()
    latents = factors(3, SHAPE, seed=2) / 2
    ready = invert(denoiser, Doubled().decode(latents) - 0.1, T, STEPS)
    torch.testing.assert_close(ready.points[:, 0], latents)
    d = factors(1, SHAPE, seed=3)[0]
    d[:, :, 0] = 0
    edited, same = (Doubled().decode(sample(denoiser, x, T, STEPS)) for x in (ready.x_t + d, ready.x_t))
    torch.testing.assert_close(change(denoiser, ready, d), edited - same, rtol=1e-8, atol=1e-10)
    assert not change(denoiser, ready, torch.zeros_like(d)).any()
    assert change(denoiser, ready, torch.zeros_like(d)).shape == (3, 3, 8, 8)
    felt = first_order(denoiser, ready, d)
    expected = (denoiser.posterior_mean(ready.x_t + d, T) - denoiser.posterior_mean(ready.x_t, T)) * 2
    torch.testing.assert_close(felt[:, :, ::2, ::2], expected)
    norms = felt.flatten(1).norm(dim=1)
    passed = change(denoiser, ready, d, least=norms * torch.tensor([0.9, 1.1, 0.9]))
    assert [bool(one.any()) for one in passed] == [True, False, True]


@pytest.mark.parametrize("order", [1, 2])
def test_what_joins_on_the_way_down_is_an_edit_from_there(denoiser, order):
    """The path to a level of the grid is the lower part of the path to t, so nothing else is needed to say it."""
    images = factors(3, SHAPE, seed=2) / 2
    path = invert(denoiser, images, T, STEPS, order=order)
    levels = denoiser.schedule.grid(T, STEPS)
    middle = levels[STEPS // 2]
    lower = invert(denoiser, images, middle, STEPS // 2, order=order)
    assert denoiser.schedule.grid(middle, STEPS // 2) == levels[: STEPS // 2 + 1]
    coarse, fine = factors(2, SHAPE, seed=3)
    nothing = torch.zeros_like(coarse)
    alone = change(denoiser, path, nothing, later={middle: fine})
    torch.testing.assert_close(alone, change(denoiser, lower, fine), rtol=1e-8, atol=1e-10)
    beside = torch.stack(
        [fine, nothing, nothing]
    )  # in a batch with others, which go on as if they were alone
    mixed = change(denoiser, path, coarse, later={middle: beside})
    torch.testing.assert_close(mixed[1:], change(denoiser, path, coarse)[1:], rtol=1e-8, atol=1e-10)
    if order == 1:  # of second order, everything begins anew where something joins
        both = change(denoiser, path, coarse, later={middle: fine})
        torch.testing.assert_close(both, change(denoiser, path, coarse) + alone, rtol=1e-8, atol=1e-10)


def test_what_joins_at_t_itself_is_added_there_and_between_levels_at_the_nearest(denoiser, prepared):
    coarse, fine = factors(2, SHAPE, seed=3)
    assert torch.equal(
        change(denoiser, prepared, coarse, later={T: fine}), change(denoiser, prepared, coarse + fine)
    )
    levels = denoiser.schedule.grid(T, STEPS)
    near = 0.6 * levels[3] + 0.4 * levels[4]
    assert torch.equal(
        change(denoiser, prepared, coarse, later={near: fine}),
        change(denoiser, prepared, coarse, later={levels[3]: fine}),
    )
    lowest = change(denoiser, prepared, coarse, later={1e-9: fine})
    assert torch.equal(lowest, change(denoiser, prepared, coarse, later={levels[1]: fine}))


def test_images_are_given_their_own_later_and_none_is_passed_through_that_awaits_something(
    denoiser, prepared
):
    coarse, fine = factors(2, SHAPE, seed=3)
    level = denoiser.schedule.grid(T, STEPS)[4]
    own = torch.stack([fine, torch.zeros_like(fine), 2 * fine])
    felt = torch.full((3,), 1e9, dtype=torch.float64)
    found = change(denoiser, prepared, coarse, least=felt, later={level: own})
    assert torch.equal(found[1], torch.zeros_like(found[1]))
    for k, factor in ((0, 1.0), (2, 2.0)):
        alone = change(denoiser, prepared[k : k + 1], coarse, later={level: factor * fine})
        torch.testing.assert_close(found[k], alone[0], rtol=1e-8, atol=1e-10)
