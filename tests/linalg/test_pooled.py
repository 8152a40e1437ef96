"""Pool: the leading eigenvectors of means over many Jacobians are those of the dense means, by rounds of sums alone."""

import itertools

import pytest
import torch

from loco.linalg.pooled import GRAIN, Pool, Sums, agreement, counted, parts
from tests.toys import Dense, angle, factors, gaussian, with_spectrum

SIZE = 40
RANKS = (2, 3)
FALLING = [2.0**-k for k in range(12)]


def masks(count, size=SIZE):
    """Each Jacobian's own region: a block of rows that moves."""
    found = []
    for number in range(count):
        mask = torch.zeros(size, dtype=torch.bool)
        mask[number : number + size // 3] = True
        found.append(mask)
    return found


def several(count=4):
    own = masks(count)
    spectra = [[scale * value for value in FALLING] for scale in (1.0, 2.0, 0.5, 1.5)]
    return [
        with_spectrum(SIZE, mask, spectrum, spectrum[:8], seed)
        for seed, (mask, spectrum) in enumerate(zip(own, spectra, strict=False))
    ], own


def means(matrices, own, weights):
    """The dense operators."""
    total = sum(weights)
    inside = sum(w * (a[m].T @ a[m]) for a, m, w in zip(matrices, own, weights, strict=True)) / total
    rest = sum(w * (a[~m].T @ a[~m]) for a, m, w in zip(matrices, own, weights, strict=True)) / total
    return inside, rest


def sums(matrices, own, weights, block, order=None):
    """The round's sums, whatever the order in which the Jacobians come by."""
    total = None
    for number in order or range(len(matrices)):
        part = parts(Dense(matrices[number]), [own[number]], block, [weights[number]])
        products = part.new_zeros((2, *part.shape))
        products[number % 2] = part
        counts = torch.zeros((2, len(part)), dtype=torch.float64)
        counts[number % 2] = weights[number]
        one = Sums(products, counts)
        total = one if total is None else total + one
    return total


def solve(matrices, own, weights, tol=1e-9, ranks=RANKS, most=50):
    size = matrices[0].shape[1]
    start = torch.randn((5, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pool = Pool.begin(start, ranks, tol)
    while len(pool.fresh) and pool.rounds < most:
        pool = pool.extended(sums(matrices, own, weights, pool.fresh))
    return pool


def test_the_eigenvectors_are_those_of_the_dense_means():
    matrices, own = several()
    weights = [1.0, 0.3, 2.0, 0.7]
    pool = solve(matrices, own, weights)
    for found, mean, rank in zip(pool.solved(), means(matrices, own, weights), RANKS, strict=True):
        values, vectors = torch.linalg.eigh(mean)
        torch.testing.assert_close(found.values, values.flip(0)[:rank].sqrt(), rtol=1e-8, atol=0)
        assert angle(found.right, vectors.flip(1).T[:rank]) < 1e-6
        assert found.converged
        assert found.error <= 1e-9
    assert pool.rounds < 12
    torch.testing.assert_close(pool.basis @ pool.basis.T, torch.eye(len(pool.basis), dtype=torch.float64))


def test_on_gaussians_of_known_covariances_to_1e_4():
    """J of each is known in closed form (`tests/gaussian.py`); products of the network's differences are not used."""
    shape = (1, 6, 6)
    several = [
        gaussian(factors(5, shape, seed) * 2.0 ** -torch.arange(5)[:, None, None, None], noise=1e-3)
        for seed in range(6)
    ]
    matrices = [one.jacobian(0.4) for one in several]
    own = masks(6, 36)
    weights = [1.0] * 6
    pool = solve(matrices, own, weights, tol=1e-5)
    for found, mean, rank in zip(pool.solved(), means(matrices, own, weights), RANKS, strict=True):
        values, vectors = torch.linalg.eigh(mean)
        assert angle(found.right, vectors.flip(1).T[:rank]) < 1e-4
        torch.testing.assert_close(found.values.square(), values.flip(0)[:rank], rtol=1e-4, atol=0)


def test_the_estimated_error_bounds_the_true_one_until_it_is_within_the_tolerance():
    matrices, own = several()
    weights = [1.0] * 4
    for most in range(1, 8):
        pool = solve(matrices, own, weights, tol=0.01, most=most)
        for found, mean, rank in zip(pool.solved(), means(matrices, own, weights), RANKS, strict=True):
            _, vectors = torch.linalg.eigh(mean)
            if found.converged:
                assert angle(found.right, vectors.flip(1).T[:rank]) < 0.02


def test_sums_are_the_same_bits_in_every_order_and_in_every_grouping():
    matrices, own = several()
    weights = [1.0, 0.3, 2.0, 0.7]
    block = torch.linalg.qr(torch.randn(SIZE, 4, dtype=torch.float64))[0].T
    found = [sums(matrices, own, weights, block, order) for order in itertools.permutations(range(4))]
    assert all(bool((one.products == found[0].products).all()) for one in found)
    left, right = sums(matrices, own, weights, block, [0, 3]), sums(matrices, own, weights, block, [2, 1])
    assert bool(((right + left).products == found[0].products).all())


def test_a_region_that_an_image_lacks_adds_nothing():
    matrices, own = several(2)
    block = torch.linalg.qr(torch.randn(SIZE, 3, dtype=torch.float64))[0].T
    alone = parts(Dense(matrices[0]), [own[0]], block, [2.0])
    beside = parts(Dense(matrices[0]), [own[0], None], block, [2.0, 5.0])
    assert bool((beside[[0, 2]] == alone).all())
    assert not bool(beside[[1, 3]].any())


def test_what_is_not_finite_is_told_not_summed():
    for bad in (float("nan"), float("inf"), 1e30):
        with pytest.raises(FloatingPointError, match="not finite, or too large"):
            counted(torch.tensor([1.0, bad]))
    assert counted(torch.tensor([1.0])).tolist() == [round(1 / GRAIN)]


def test_halves_agree_where_they_are_alike_and_not_where_they_are_not():
    """Both halves of the same two Jacobians, against halves whose regions answer to orthogonal directions."""
    matrices, own = several(2)
    alike = solve(
        [matrices[0], matrices[0], matrices[1], matrices[1]], [own[0], own[0], own[1], own[1]], [1.0] * 4
    )
    halves = [alike.half(number)[0].right for number in (0, 1)]
    assert float(agreement(alike.solved()[0].right, halves).min()) > 1 - 1e-6
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:10] = True
    unlike = []
    for number in (0, 1):
        matrix = torch.zeros((SIZE, SIZE), dtype=torch.float64)
        matrix[0, number] = 1.0 + number
        matrix[30, 5] = 1.0
        unlike.append(matrix)
    pool = solve(unlike, [mask, mask], [1.0, 1.0], ranks=(1, 1))
    found = agreement(pool.solved()[0].right, [pool.half(number)[0].right for number in (0, 1)])
    assert float(found) < 1e-3


def test_a_half_without_images_has_no_answer():
    matrices, own = several(1)
    pool = solve(matrices, own, [1.0])
    assert pool.half(1) is None
    assert pool.half(0) is not None


def test_a_mean_of_nothing_has_no_triplets():
    matrices, own = [torch.zeros((SIZE, SIZE), dtype=torch.float64)], masks(1)
    pool = solve(matrices, own, [1.0])
    assert [len(one.values) for one in pool.solved()] == [0, 0]
    assert pool.rounds == 1
