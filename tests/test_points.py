"""Where J is taken: the points themselves, and what discovery makes of several of them."""

from dataclasses import replace

import pytest
import torch

from loco.direction import direction_id
from loco.discover import discover
from loco.errors import InputError
from loco.inversion import invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.stacked import stacked
from loco.points import points
from loco.recipes import DiscoverRecipe
from tests.mixture import MixtureDenoiser
from tests.toys import box, factors, gaussian, orthonormal, rows

SHAPE = (3, 6, 6)
T = 0.6
RECIPE = DiscoverRecipe(t=T, rank=2, null_rank=2, tol=1e-8, max_rounds=108, dtype="float64", ranged=False)
MOUTH = box("mouth", SHAPE, 4, 6, 2, 5)
IMAGES = ("a" * 64, "b" * 64)


def mixture():
    generator = torch.Generator().manual_seed(0)
    return MixtureDenoiser([orthonormal(4, 108, generator).reshape(4, *SHAPE) for _ in range(3)])


def noise_of(denoiser, x0, found):
    """The noise in points [B, K, C, H, W]."""
    return (found - denoiser.schedule.signal(T) * x0[:, None]) / denoiser.schedule.noise(T)


def rms(noise):
    return noise.flatten(2).square().mean(dim=2).sqrt()


def test_rescaled_and_filled_points_have_noise_of_the_size_that_was_learnt():
    """An inverted sample of few dimensions has hardly any; filled up with drawn noise it has 1 up to chance."""
    denoiser = mixture()
    x0 = torch.stack([basis.sum(dim=0).reshape(SHAPE) for basis in denoiser.bases[:2]])
    x_t = invert(denoiser, x0, T, 20).x_t
    inverted, rescaled, filled = (
        noise_of(denoiser, x0, points(denoiser.schedule, x0, replace(RECIPE, point=kind), IMAGES, x_t))
        for kind in ("inverted", "rescaled", "filled")
    )
    assert rms(inverted).max() < 0.7
    torch.testing.assert_close(rms(rescaled), torch.ones(2, 1, dtype=torch.float64))
    torch.testing.assert_close(rescaled, inverted / rms(inverted)[..., None, None, None])
    torch.testing.assert_close(rms(filled), torch.ones(2, 1, dtype=torch.float64), rtol=0, atol=0.2)
    drawn = (filled - inverted) / (1 - rms(inverted) ** 2).sqrt()[..., None, None, None]
    fresh = points(denoiser.schedule, x0, replace(RECIPE, point="noised"), IMAGES)
    torch.testing.assert_close(drawn, noise_of(denoiser, x0, fresh))


def test_noise_is_of_the_image_alone_and_draw_k_is_the_same_however_many_there_are():
    denoiser, x0 = mixture(), factors(2, SHAPE)
    four = points(denoiser.schedule, x0, replace(RECIPE, point="noised", draws=4), IMAGES)
    two = points(
        denoiser.schedule, x0.flip(0), replace(RECIPE, point="noised", draws=2, seed=5), IMAGES[::-1]
    )
    assert four.shape == (2, 4, *SHAPE)
    torch.testing.assert_close(two.flip(0), four[:, :2], rtol=0, atol=0)
    noise = noise_of(denoiser, x0, four).flatten(0, 1).flatten(1)
    across = noise @ noise.T / noise.shape[1]
    assert (across - torch.eye(8, dtype=torch.float64)).abs().max() < 0.45  # unit size, none like another


def test_points_on_an_inversion_want_the_inverted_images():
    denoiser = mixture()
    with pytest.raises(
        ValueError, match="points of kind 'filled' rest on the inverted images; pass inverted="
    ):
        points(denoiser.schedule, factors(1, SHAPE), replace(RECIPE, point="filled"), IMAGES[:1])


def dense(denoiser, at):
    """The Jacobians at points [K, C, H, W], [K, D, D]."""
    f = lambda x: denoiser.posterior_mean(x[None], T)[0]  # noqa: E731
    return torch.stack([torch.func.jacrev(f)(x).reshape(108, 108) for x in at])


def test_directions_at_several_points_are_the_eigenvectors_of_the_mean_of_their_j_m_j():
    denoiser, x0 = mixture(), factors(1, SHAPE)
    recipe = replace(RECIPE, point="noised", draws=3, null_rank=0, forward="exact")
    at = points(denoiser.schedule, x0, recipe, IMAGES[:1])[0]
    basis = discover(denoiser, at, [MOUTH], recipe, model="m", image_id=IMAGES[0])
    jacobians, mask = dense(denoiser, at), rows(MOUTH, SHAPE)
    assert (jacobians[0] - jacobians[1]).norm() > 0.1 * jacobians[0].norm()  # three different ones
    inside = jacobians[:, mask]
    values, vectors = torch.linalg.eigh((inside.mT @ inside).mean(dim=0))
    for k, one in enumerate(basis.directions):
        found = torch.from_numpy(basis.vectors[one.row]).double().flatten()
        assert abs(float(found @ vectors[:, -1 - k])) == pytest.approx(1, abs=1e-6)
        assert one.singular_value == pytest.approx(float(values[-1 - k]) ** 0.5, rel=1e-6)
        responses = jacobians @ found
        assert one.gain == pytest.approx(
            float(responses[:, mask].square().sum(dim=1).mean()) ** 0.5, rel=1e-6
        )
        within, without = (float(responses[:, part].square().mean()) ** 0.5 for part in (mask, ~mask))
        assert one.leakage == pytest.approx(without / within, rel=1e-5)
        assert one.converged


def test_where_the_jacobian_is_the_same_everywhere_every_point_gives_the_same_directions():
    denoiser, x0 = gaussian(factors(6, SHAPE) / 3), factors(1, SHAPE)
    path = invert(denoiser, x0, T, RECIPE.steps)
    bases = [
        discover(
            denoiser, path, [MOUTH], replace(RECIPE, point=kind, draws=draws), model="m", image_id=IMAGES[0]
        )
        for kind, draws in (("inverted", 1), ("rescaled", 1), ("filled", 2), ("noised", 3))
    ]
    assert len({basis.id for basis in bases}) == 4
    for basis in bases[1:]:
        assert abs(basis.vectors - bases[0].vectors).max() < 1e-5


def test_a_product_of_several_jacobians_counts_as_that_many():
    denoiser, x0 = mixture(), factors(3, SHAPE)
    f = lambda x: denoiser.posterior_mean(x, T)  # noqa: E731
    operator = stacked([JacobianOperator(f, x, chunk=2) for x in x0])
    v = factors(2, SHAPE, seed=4).flatten(1)
    torch.testing.assert_close(
        operator.mv(v), torch.cat([v @ one.T for one in dense(denoiser, x0)], 1) / 3**0.5
    )
    assert (operator.products, operator.evaluations) == (6, 12)
    u = factors(2, (9, 6, 6), seed=5).flatten(1)
    expected = sum(part @ one for part, one in zip(u.split(108, dim=1), dense(denoiser, x0), strict=True))
    torch.testing.assert_close(operator.rmv(u), expected / 3**0.5)
    assert operator.products == 12


def test_evaluations_of_points_without_an_inversion_have_none_in_them():
    denoiser, seen = mixture(), []
    plain = denoiser.posterior_mean
    denoiser.posterior_mean = lambda x, t: seen.append(len(x)) or plain(x, t)
    at = factors(2, SHAPE)
    basis = discover(
        denoiser, at, [MOUTH], replace(RECIPE, point="noised", draws=2), model="m", image_id=IMAGES[0]
    )
    assert basis.evaluations == sum(seen)


def test_as_many_points_are_wanted_as_the_recipe_draws():
    with pytest.raises(ValueError, match="expected the recipe's 2 points, found 3"):
        discover(mixture(), factors(3, SHAPE), [MOUTH], replace(RECIPE, point="noised", draws=2), model="m")


def test_several_draws_need_noise_that_is_drawn():
    with pytest.raises(InputError) as caught:
        DiscoverRecipe(t=T, draws=2, point="rescaled")
    assert str(caught.value) == (
        "recipe: draws above 1 need a point that is drawn (filled or noised), found 2 draws of rescaled"
    )
    with pytest.raises(
        InputError, match="recipe: point must be one of inverted, rescaled, filled, noised, found"
    ):
        DiscoverRecipe(t=T, point="typical")


def test_former_recipes_keep_their_ids():
    """That of the program before there were points, whether or not the inverted one is named."""
    former = "6295e08f21474b2920b242de67a099df"
    assert direction_id("m", "i", DiscoverRecipe(t=0.6, rank=2), "r", 0) == former
    assert direction_id("m", "i", DiscoverRecipe(t=0.6, rank=2, point="inverted", draws=1), "r", 0) == former
    others = {
        direction_id("m", "i", DiscoverRecipe(t=0.6, rank=2, point=kind, draws=draws), "r", 0)
        for kind, draws in (("rescaled", 1), ("filled", 1), ("filled", 2), ("noised", 1), ("noised", 2))
    }
    assert len(others | {former}) == 6
