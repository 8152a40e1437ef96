"""Discovery on Gaussians, whose Jacobian is known: every figure of a basis against dense algebra."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from loco.direction import basis_id, direction_id
from loco.discover import discover
from loco.errors import DirectionError
from loco.linalg.projection import canonical_sign
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from registry.files.basis import write_basis
from registry.home import Home
from tests.mixture import MixtureDenoiser
from tests.toys import angle, box, factors, gaussian, orthonormal, rows

SHAPE = (3, 6, 6)
SIZE = 108
T = 0.6
RECIPE = DiscoverRecipe(t=T, rank=2, null_rank=0, tol=1e-8, max_rounds=SIZE, dtype="float64")
EYES, MOUTH = box("eyes", SHAPE, 0, 2, 1, 5), box("mouth", SHAPE, 4, 6, 2, 5)
MODEL, IMAGE = "a" * 32, "b" * 64


def run(denoiser, rois, recipe=RECIPE):
    x_t = factors(1, SHAPE, seed=8)[0]
    return discover(denoiser, x_t, rois, recipe, model=MODEL, image_id=IMAGE, image_name="1.png")


def falling(count, seed=0):
    """Factors whose strengths fall by a third each, so that no two singular values tie."""
    return (
        factors(count, SHAPE, seed)
        * 1.5 ** -torch.arange(count, dtype=torch.float64)[:, None, None, None]
        / 3
    )


def local(roi, own=2, elsewhere=3):
    """A Gaussian with `own` factors inside the region alone and `elsewhere` ones all over the image."""
    inside = torch.from_numpy(roi.mask.copy())
    return gaussian(torch.cat([falling(own, seed=1) * inside, falling(elsewhere, seed=2)]))


def dense(denoiser, roi, recipe):
    """Algorithm 1 by dense SVDs: directions, their lengths after projection, singular values, responses."""
    jacobian, mask = denoiser.jacobian(recipe.t), rows(roi, SHAPE)
    _, values, right = torch.linalg.svd(jacobian[mask], full_matrices=False)
    _, _, rest = torch.linalg.svd(jacobian[~mask], full_matrices=False)
    rest = rest[: recipe.null_rank]
    left = right[: recipe.rank] - right[: recipe.rank] @ rest.T @ rest
    vectors = canonical_sign(torch.nn.functional.normalize(left, dim=1))
    return vectors, left.norm(dim=1), values[: recipe.rank], vectors @ jacobian.T


def check(basis, denoiser, roi, recipe):
    """Every figure of the region's directions equals that of dense algebra."""
    vectors, retained, values, responses = dense(denoiser, roi, recipe)
    found = [direction for direction in basis.directions if direction.roi == roi.name]
    assert [direction.index for direction in found] == list(range(recipe.rank))
    mask = rows(roi, SHAPE)
    for k, direction in enumerate(found):
        stored = torch.from_numpy(basis.vectors[direction.row]).double().flatten()
        torch.testing.assert_close(stored, vectors[k], rtol=0, atol=1e-6)
        inside, outside = (responses[k][part].pow(2).mean().sqrt() for part in (mask, ~mask))
        assert direction.singular_value == pytest.approx(float(values[k]), rel=1e-6)
        assert direction.retained == pytest.approx(float(retained[k]), rel=1e-6)
        assert direction.gain == pytest.approx(float(responses[k][mask].norm()), rel=1e-6)
        assert direction.leakage == pytest.approx(float(outside / inside), rel=1e-5, abs=1e-6)
        assert direction.residual <= recipe.tol
        assert direction.converged


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_without_projection_directions_are_the_region_s_singular_vectors(rank):
    denoiser, recipe = gaussian(falling(8)), replace(RECIPE, rank=rank)
    basis = run(denoiser, [EYES, MOUTH], recipe)
    for roi in (EYES, MOUTH):
        check(basis, denoiser, roi, recipe)
    for direction in basis.directions:  # with nothing projected away, the gain is the singular value
        assert direction.retained == pytest.approx(1)
        assert direction.gain == pytest.approx(direction.singular_value, rel=1e-6)


def test_where_null_rank_covers_the_rest_nothing_leaks():
    """The rest of the image has rank 3: with null_rank 3 its response to the directions is rounding."""
    denoiser, recipe = local(EYES), replace(RECIPE, null_rank=3)
    basis = run(denoiser, [EYES], recipe)
    check(basis, denoiser, EYES, recipe)
    for direction in basis.directions:
        assert direction.leakage < 1e-6
        assert 0.05 < direction.retained < 0.999  # the projection had something to do
        assert direction.gain > 0.01


@pytest.mark.parametrize("null_rank", [0, 1, 2])
def test_below_that_rank_what_leaks_is_told(null_rank):
    denoiser, recipe = local(EYES), replace(RECIPE, null_rank=null_rank)
    basis = run(denoiser, [EYES], recipe)
    check(basis, denoiser, EYES, recipe)
    assert max(direction.leakage for direction in basis.directions) > 1e-3


def test_a_basis_carries_what_it_was_made_of():
    denoiser = local(EYES)
    basis = run(denoiser, [EYES, MOUTH])
    assert (basis.model, basis.image_id, basis.image_name, basis.recipe) == (MODEL, IMAGE, "1.png", RECIPE)
    assert basis.id == basis_id(MODEL, IMAGE, RECIPE, (EYES.id, MOUTH.id))
    assert [(roi.id, roi.name, roi.source) for roi in basis.rois] == [
        (roi.id, roi.name, roi.source) for roi in (EYES, MOUTH)
    ]
    assert all(
        np.array_equal(kept.mask, roi.mask) for kept, roi in zip(basis.rois, (EYES, MOUTH), strict=True)
    )
    assert basis.vectors.dtype == np.float32
    assert basis.vectors.shape == (4, *SHAPE)
    np.testing.assert_allclose(np.linalg.norm(basis.vectors.reshape(4, -1), axis=1), 1, rtol=1e-6)
    assert [direction.row for direction in basis.directions] == [0, 1, 2, 3]
    for direction in basis.directions:
        roi = {"eyes": EYES, "mouth": MOUTH}[direction.roi]
        assert direction.id == direction_id(MODEL, IMAGE, RECIPE, roi.id, direction.index)
        assert (direction.basis_id, direction.roi_id, direction.roi_area) == (basis.id, roi.id, roi.area)
        assert (direction.t, direction.step, direction.shape) == (T, denoiser.schedule.step(T), SHAPE)
    assert basis.refused == ()


def test_evaluations_and_products_are_those_made_and_the_inversion_s():
    denoiser = local(EYES)
    plain, seen = denoiser.posterior_mean, []

    def counted(x, t):
        seen.append(len(x))
        return plain(x, t)

    denoiser.posterior_mean = counted
    basis = run(denoiser, [EYES])
    assert basis.evaluations == sum(seen) + RECIPE.steps
    assert basis.products > 2 * len(basis.directions)


def test_companions_and_their_order_change_no_direction():
    denoiser, recipe = local(EYES), replace(RECIPE, null_rank=2)
    alone = run(denoiser, [EYES], recipe)
    for rois in ([EYES, MOUTH], [MOUTH, EYES]):
        beside = run(denoiser, rois, recipe)
        assert beside.id != alone.id
        for own in alone.directions:
            [same] = [direction for direction in beside.directions if direction.id == own.id]
            np.testing.assert_allclose(beside.vectors[same.row], alone.vectors[own.row], rtol=0, atol=1e-6)
            assert same.leakage == pytest.approx(own.leakage, rel=1e-4)
    assert run(denoiser, [MOUTH, EYES], recipe).id == run(denoiser, [EYES, MOUTH], recipe).id


def test_two_seeds_find_the_same_directions_under_other_ids():
    denoiser, recipe = local(EYES), replace(RECIPE, null_rank=2)
    first, second = run(denoiser, [EYES], recipe), run(denoiser, [EYES], replace(recipe, seed=1))
    np.testing.assert_allclose(first.vectors, second.vectors, rtol=0, atol=1e-6)
    assert not {direction.id for direction in first.directions} & {
        direction.id for direction in second.directions
    }


def test_one_seed_finds_the_same_bits():
    first, second = run(local(EYES), [EYES]), run(local(EYES), [EYES])
    assert np.array_equal(first.vectors, second.vectors)
    assert first.arrays.keys() == second.arrays.keys()
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)
    assert first == replace(second, vectors=first.vectors, rois=first.rois, arrays=first.arrays)


def test_a_region_that_moves_only_with_the_rest_is_refused():
    """One factor all over the image: what moves the region is what moves the rest, and nothing is left."""
    basis = run(gaussian(falling(1)), [EYES], replace(RECIPE, rank=1, null_rank=1))
    assert basis.directions == ()
    assert basis.vectors.shape == (0, *SHAPE)
    [refusal] = basis.refused
    assert (refusal.roi, refusal.index) == ("eyes", 0)
    assert refusal.cause == (
        "only 0.000 of it is left after the projection off the rest of the image (min_retained is 0.05); "
        "try a smaller null_rank or another region"
    )


def test_min_retained_decides_and_the_rest_of_the_region_is_kept():
    denoiser, recipe = local(EYES, own=1, elsewhere=1), replace(RECIPE, null_rank=1)
    _, retained, _, _ = dense(denoiser, EYES, recipe)
    low, high = sorted(float(value) for value in retained)
    assert high - low > 0.01
    basis = run(denoiser, [EYES], replace(recipe, min_retained=(low + high) / 2))
    assert [direction.retained for direction in basis.directions] == [pytest.approx(high)]
    assert [refusal.index for refusal in basis.refused] == [int(retained.argmin())]
    assert basis.directions[0].row == 0
    assert len(basis.vectors) == 1


def test_a_region_that_does_not_respond_is_refused_and_the_others_are_not():
    outside = torch.from_numpy((~EYES).mask.copy())
    basis = run(gaussian(falling(4) * outside), [EYES, MOUTH], RECIPE)
    assert [(refusal.roi, refusal.index, refusal.cause) for refusal in basis.refused] == [
        ("eyes", 0, "the region does not respond: its Jacobian vanishes at this t")
    ]
    assert [direction.roi for direction in basis.directions] == ["mouth", "mouth"]


def test_a_region_of_lower_rank_than_asked_has_so_many_directions():
    inside = torch.from_numpy(EYES.mask.copy())
    basis = run(gaussian(falling(2) * inside), [EYES], replace(RECIPE, rank=5, null_rank=3))
    assert [direction.index for direction in basis.directions] == [0, 1]
    assert all(direction.leakage < 1e-6 and direction.converged for direction in basis.directions)


def test_the_whole_image_has_no_rest():
    whole = Roi("all", np.ones(SHAPE[1:], np.bool_), "test")
    denoiser = gaussian(falling(8))
    basis = run(denoiser, [whole], replace(RECIPE, null_rank=5))
    _, vectors = torch.linalg.eigh(denoiser.covariance)
    stored = torch.from_numpy(basis.vectors.reshape(2, -1)).double()
    assert angle(stored, vectors.T.flip(0)[:2]) < 1e-6
    for direction in basis.directions:
        assert (direction.leakage, direction.retained) == (None, None)


@pytest.mark.parametrize(("outside", "known"), [(4, True), (3, False), (1, False)])
def test_with_next_to_no_outside_leakage_and_retained_are_not_known(outside, known):
    """Projected off the few pixels that are left, next to nothing leaks into them: that says nothing."""
    mask = np.ones(SHAPE[1:], np.bool_)
    mask[0, :outside] = False
    basis = run(gaussian(falling(20)), [Roi("most", mask, "test")], replace(RECIPE, null_rank=2))
    assert len(basis.directions) == 2
    for direction in basis.directions:
        assert (direction.leakage is not None, direction.retained is not None) == (known, known)
        assert direction.gain > 0


def test_what_has_not_converged_says_so():
    """One round is not enough for a spectrum that falls slowly, neither for the region nor for the rest."""
    denoiser = gaussian(factors(60, SHAPE) / 10)
    for null_rank in (0, 3):
        basis = run(denoiser, [EYES], replace(RECIPE, null_rank=null_rank, max_rounds=3))
        assert basis.directions
        assert not any(direction.converged for direction in basis.directions)
        assert all(direction.residual > RECIPE.tol for direction in basis.directions)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"mask of eyes is \(5, 5\), the model works at \(6, 6\)"):
        run(local(EYES), [box("eyes", (3, 5, 5), 0, 2, 0, 2)])


def test_a_rest_that_has_not_converged_counts_against_the_direction():
    """The region's own factor is found in a few rounds, the rest's slowly falling spectrum is not."""
    inside = torch.from_numpy(EYES.mask.copy())
    denoiser = gaussian(torch.cat([factors(1, SHAPE, seed=3) * inside, factors(60, SHAPE) * ~inside / 10]))
    for null_rank, converged in ((0, True), (3, False)):
        basis = run(denoiser, [EYES], replace(RECIPE, rank=1, null_rank=null_rank, max_rounds=3))
        [direction] = basis.directions
        assert direction.residual <= RECIPE.tol
        assert direction.converged is converged


def test_a_network_that_answers_nan_is_named():
    denoiser = gaussian(factors(2, SHAPE))
    denoiser.covariance = denoiser.covariance * float("nan")
    with pytest.raises(
        DirectionError, match=r"the model's answer for 1\.png at t = 0\.6 is not finite \(J' u has entries"
    ):
        run(denoiser, [EYES])


def test_both_solvers_find_the_same_directions():
    denoiser = local(EYES)
    fast = run(denoiser, [EYES], replace(RECIPE, null_rank=2))
    slow = run(denoiser, [EYES], replace(RECIPE, null_rank=2, solver="power"))
    np.testing.assert_allclose(slow.vectors, fast.vectors, atol=1e-6)
    assert fast.id != slow.id
    assert fast.products * 5 < slow.products
    for one, other in zip(fast.directions, slow.directions, strict=True):
        assert other.gain == pytest.approx(one.gain, rel=1e-6)
        assert other.leakage == pytest.approx(one.leakage, rel=1e-5)


def mixture(ranks=(3, 4)):
    generator = torch.Generator().manual_seed(5)
    return MixtureDenoiser([orthonormal(rank, SIZE, generator).view(rank, *SHAPE) for rank in ranks])


def test_a_mixture_of_low_rank_gaussians_gives_its_dense_triplets_and_its_rank():
    """LOCO Edit's own theory: J is symmetric and of rank 3 + 4; values to 1e-5, subspaces to 1e-4."""
    denoiser, x_t = mixture(), factors(1, SHAPE, seed=8)[0]
    jacobian = torch.func.jacrev(lambda flat: denoiser.posterior_mean(flat.view(1, *SHAPE), T).flatten())(
        x_t.flatten()
    )
    torch.testing.assert_close(jacobian, jacobian.T)
    assert int((torch.linalg.svdvals(jacobian) > 1e-10).sum()) == 7
    basis = run(denoiser, [EYES], replace(RECIPE, rank=10))
    _, values, right = torch.linalg.svd(jacobian[rows(EYES, SHAPE)], full_matrices=False)
    assert len(basis.directions) == 7  # ten were asked for, seven there are
    found = torch.from_numpy(basis.vectors.reshape(7, -1)).double()
    assert angle(found[:3], right[:3]) < 1e-4
    for k, direction in enumerate(basis.directions):
        assert direction.singular_value == pytest.approx(float(values[k]), rel=1e-5)
        assert direction.converged
    # What the rest answers to has rank 7 as well: with all of it projected away nothing is left to leak.
    for direction in run(denoiser, [EYES], replace(RECIPE, rank=3, null_rank=7)).directions:
        assert direction.leakage < 1e-6


def test_two_seeds_give_the_same_directions_with_the_same_sign():
    denoiser = local(EYES)
    first, second = (run(denoiser, [EYES], replace(RECIPE, seed=seed, null_rank=2)) for seed in (0, 1))
    assert first.id != second.id
    for one, other in zip(first.vectors, second.vectors, strict=True):
        assert float(one.ravel() @ other.ravel()) > 0.999


def test_a_warm_start_gives_the_same_for_less():
    """From the vectors of another seed at a neighbouring t."""
    denoiser = gaussian(falling(30))
    recipe = replace(RECIPE, null_rank=3, tol=1e-4, ranged=False)
    x_t = factors(1, SHAPE, seed=8)[0]
    near = run(denoiser, [EYES], replace(recipe, t=0.58, seed=3))
    cold = run(denoiser, [EYES], recipe)
    warm = discover(
        denoiser,
        x_t,
        [EYES],
        recipe,
        model=MODEL,
        image_id=IMAGE,
        start=torch.from_numpy(near.vectors).double().flatten(1),
    )
    np.testing.assert_allclose(warm.vectors, cold.vectors, atol=1e-3)
    assert warm.id == cold.id


def test_the_constrained_direction_weighs_inside_against_outside_and_does_better():
    denoiser = local(EYES)
    plain = run(denoiser, [EYES], replace(RECIPE, rank=1, null_rank=1))
    weighed = run(denoiser, [EYES], replace(RECIPE, rank=1, null_rank=1, method="constrained"))
    assert [one.method for one in (*plain.directions, *weighed.directions)] == ["projected", "constrained"]
    assert weighed.directions[0].leakage < plain.directions[0].leakage


def test_the_null_rank_can_follow_the_energy():
    """The rest has three directions of falling strength: little energy takes one of them, nearly all takes three."""
    denoiser = local(EYES)
    leaks = [
        run(denoiser, [EYES], replace(RECIPE, rank=1, null_rank=3, null_energy=share)).directions[0].leakage
        for share in (0.3, 0.999999)
    ]
    assert leaks[0] > 1e-3
    assert leaks[1] < 1e-6


def test_a_rank_above_the_region_s_rows_is_told():
    dot = box("dot", SHAPE, 0, 1, 0, 1)  # one pixel, three values
    basis = run(gaussian(falling(8)), [dot], replace(RECIPE, rank=5))
    assert len(basis.directions) == 3
    assert [(one.roi, one.cause) for one in basis.refused] == [
        ("dot", "rank 5 is asked for, the region has 3 values")
    ]


class Closed(torch.autograd.Function):
    """Twice its input, and no derivative."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError("no derivative here")


def test_a_network_that_cannot_be_differentiated_still_gives_directions_but_no_certificate():
    denoiser = local(EYES)
    inner = denoiser.posterior_mean
    denoiser.posterior_mean = lambda x_t, t: Closed.apply(inner(x_t, t)) / 2
    basis = run(denoiser, [EYES], replace(RECIPE, null_rank=3, max_rounds=10, tol=1e-6))
    assert not any(direction.converged for direction in basis.directions)
    check_free = run(local(EYES), [EYES], replace(RECIPE, null_rank=3))
    # The Jacobian of a true posterior mean is symmetric: what was found without a derivative is what it gives.
    np.testing.assert_allclose(basis.vectors, check_free.vectors, atol=1e-4)


def test_the_same_recipe_gives_the_same_bytes(tmp_path):
    def once(name):
        basis = run(local(EYES), [EYES, MOUTH], replace(RECIPE, null_rank=2))
        return write_basis(Home(tmp_path / name), basis).read_bytes()

    assert once("one") == once("two")
