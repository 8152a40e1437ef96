"""Projection and sign: what is left is orthogonal, shorter, and the same whichever way it was found."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.linalg.projection import canonical_sign, constrained, grams, positive, project_out
from tests.toys import orthonormal

seeds = st.integers(0, 10**6)


def draw(seed, count=3, rank=4, size=12):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, size, generator=generator, dtype=torch.float64),
        orthonormal(rank, size, generator),
    )


@given(seeds)
def test_the_rest_is_orthogonal_to_the_basis_and_the_removed_part_in_its_span(seed):
    v, basis = draw(seed)
    left = project_out(v, basis)
    assert float((left @ basis.T).abs().max()) < 1e-14
    torch.testing.assert_close(v - left, (v @ basis.T) @ basis)
    torch.testing.assert_close(left.norm(dim=1) ** 2, v.norm(dim=1) ** 2 - (v @ basis.T).norm(dim=1) ** 2)


@given(seeds)
def test_projecting_twice_is_projecting_once(seed):
    v, basis = draw(seed)
    left = project_out(v, basis)
    torch.testing.assert_close(project_out(left, basis), left, rtol=0, atol=1e-14)


def test_nothing_is_left_of_the_basis_and_all_of_what_is_off_it():
    _, basis = draw(0)
    assert float(project_out(basis, basis).norm()) < 1e-14
    torch.testing.assert_close(project_out(basis[:2], basis[2:]), basis[:2])
    assert torch.equal(project_out(basis, basis[:0]), basis)


@given(seeds)
def test_the_sign_is_the_same_from_either_side(seed):
    v, _ = draw(seed)
    signed = canonical_sign(v)
    assert torch.equal(canonical_sign(-v), signed)
    assert torch.equal(canonical_sign(signed), signed)
    assert torch.equal(signed.abs(), v.abs())
    assert bool((signed.pow(3).sum(dim=1) > 0).all())


def test_a_symmetric_vector_keeps_its_length():
    v = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(canonical_sign(v), v)


@given(seeds)
def test_the_constrained_direction_has_the_greatest_quotient(seed):
    """No combination of the space, random or projected, does better; and the rows come best first."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    mask, space = torch.arange(12) < 4, orthonormal(6, 12, generator)
    images = space @ matrix.T
    found = constrained(space, *grams(images, mask), 0.1, 3)

    def quotient(v):
        image = v @ matrix.T
        return (image * mask).square().sum(1) / ((image * ~mask).square().sum(1) + 0.1 * v.square().sum(1))

    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close((found @ space.T) @ space, found)
    best = quotient(found)
    assert bool((best.diff() <= 1e-9).all())
    others = torch.randn(50, 6, generator=generator, dtype=torch.float64) @ space
    assert float(quotient(others).max()) <= float(best[0]) + 1e-9


def test_what_is_no_gram_matrix_is_brought_to_the_nearest():
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    values = torch.tensor([-2.0, -0.1, 0.5, 3.0], dtype=torch.float64)
    nearest = (rotation * values.clamp_min(0)) @ rotation.T
    assert torch.allclose(positive((rotation * values) @ rotation.T), nearest, atol=1e-12)
    assert torch.allclose(positive(nearest), nearest, atol=1e-12)
