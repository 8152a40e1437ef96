"""A recommended strength in closed form: on a Gaussian the posterior mean is linear, an edit a number times J v."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from loco.edit import change
from loco.inversion import invert
from loco.measure.strength import (
    OCTAVES,
    TARGET,
    VISIBLE,
    curve,
    from_gain,
    recommended,
    shared,
    strength_of,
)
from loco.measure.transfer import alike, mask_of, responses, unit_change
from loco.rois.roi import Roi
from tests.gaussian import GaussianDenoiser
from tests.mixture import MixtureDenoiser
from tests.registry.builders import make_basis

SHAPE = (3, 4, 4)
SIZE = math.prod(SHAPE)
MASK = np.zeros((4, 4), bool)
MASK[:2] = True
ROI = Roi("top", MASK, "here")


def gaussian(seed=0, size=0.3):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(SIZE, 6, generator=generator, dtype=torch.float64) / math.sqrt(SIZE)
    covariance = size * factor @ factor.T + 1e-3 * torch.eye(SIZE, dtype=torch.float64)
    return GaussianDenoiser(torch.zeros(SHAPE, dtype=torch.float64), covariance)


def drawn(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)


def unit(seed=2):
    vector = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vector / vector.norm()


def rms(change):
    return float(change[:, torch.from_numpy(MASK)].square().mean().sqrt())


def test_responses_are_the_jacobians_columns_at_one_evaluation_an_image_and_direction():
    model, spent = gaussian(), []
    path = invert(model, drawn(3), 0.5, 5)
    vectors = torch.cat([unit(2), unit(3)])
    found = responses(model, path, vectors, spent.append)
    exact = (vectors.flatten(1) @ model.jacobian(0.5).T).view(2, *SHAPE)
    assert found.shape == (3, 2, *SHAPE)
    torch.testing.assert_close(found, exact.expand(3, 2, *SHAPE), rtol=1e-6, atol=1e-9)
    assert sum(spent) == 3 * 2


def test_one_jacobian_makes_all_changes_alike_and_the_opposite_one_unlike():
    model = gaussian()
    path = invert(model, drawn(2), 0.5, 5)
    one, other = responses(model, path, unit())[:, 0]
    mask = mask_of(ROI, one)
    assert alike(one, mask, unit_change(other, mask)) == pytest.approx(1)
    assert alike(one, mask, -3 * unit_change(other, mask)) == pytest.approx(-1)
    assert alike(one, mask, torch.zeros_like(one)) is None
    assert float(unit_change(one, mask).norm()) == pytest.approx(1)


def climbed(model, images, vectors, steps=5):
    path = invert(model, images, 0.5, steps)
    felt = responses(model, path, vectors)
    masks = {(row, k): mask_of(ROI, felt[row, k]) for row in range(len(images)) for k in range(len(vectors))}
    return path, curve(model, path, vectors, felt, masks)


def test_on_a_gaussian_the_effect_is_seen_and_aimed_at_where_algebra_says():
    """The edit's RMS is a number times the strength: where it is seen and aimed at are quotients, steps are even."""
    model, vectors = gaussian(), unit()
    path, found = climbed(model, drawn(3), vectors)
    slope = rms(change(model, path, vectors[0])[0])
    for figures in found.values():
        assert figures["seen+"] == pytest.approx(VISIBLE / slope, rel=1e-3)
        assert figures["seen-"] == pytest.approx(VISIBLE / slope, rel=1e-3)
        sizes = {int(name[4:]): value for name, value in figures.items() if name.startswith("rms+")}
        assert all(size == pytest.approx(slope * strength_of(k), rel=1e-3) for k, size in sizes.items())
        assert figures["linear_range"] >= max(map(strength_of, sizes))
    best = recommended(list(found.values()))
    assert best.suits == 1
    assert best.strength == pytest.approx(TARGET / slope, rel=0.05)
    assert best.least == pytest.approx(VISIBLE / slope, rel=0.01)
    for steps in (best.plus, tuple(-one for one in best.minus)):
        assert len(steps) == 5
        apart = np.diff(steps)
        assert apart == pytest.approx([apart[0]] * 4, rel=0.02)


def test_it_ends_where_pixels_are_clipped():
    """Of black half of a change is clipped at once, so nothing is left of the range that gray has."""
    model, vectors = gaussian(), unit()
    black = -torch.ones(1, *SHAPE, dtype=torch.float64)
    [dark] = climbed(model, black, vectors)[1].values()
    [gray] = climbed(model, 0 * black, vectors)[1].values()
    path = invert(model, 0 * black, 0.5, 5)
    for mark, sign in (("+", 1), ("-", -1)):
        assert dark[f"end{mark}"] < 1 < gray[f"end{mark}"]
        within = change(model, path, sign * gray[f"end{mark}"] * vectors[0])[0]
        beyond = 2**0.5 * within
        assert rms(within.clamp(-1, 1)) >= 0.8 * rms(within)
        assert rms(beyond.clamp(-1, 1)) < 0.8 * rms(beyond)


def test_a_change_that_turns_ends_the_range():
    """Between the components of a mixture a long step leads from one to the other: first order does not say that."""
    generator = torch.Generator().manual_seed(0)
    bases = [torch.linalg.qr(torch.randn(SIZE, 2, generator=generator).double())[0].T for _ in range(2)]
    model = MixtureDenoiser([one.reshape(2, *SHAPE) for one in bases])
    start = (0.4 * bases[0][0]).view(1, *SHAPE)
    towards = (bases[1][0] - bases[1][0] @ bases[0].T @ bases[0]).view(1, *SHAPE)
    _, found = climbed(model, start, towards / towards.norm())
    [figures] = found.values()
    assert figures["linear_range"] < strength_of(OCTAVES.stop - 1)
    assert figures["end+"] < strength_of(OCTAVES.stop - 1)


def figures_of(seen, end, slope=0.1):
    found = {f"seen{mark}": seen for mark in "+-"} | {f"end{mark}": end for mark in "+-"}
    for k in OCTAVES:
        if strength_of(k) <= end:
            found |= {f"rms{mark}{k}": slope * strength_of(k) for mark in "+-"}
    return found


def test_the_strength_is_seen_and_sound_on_nine_images_of_ten_where_any_is():
    images = [figures_of(0.4, 16.0)] * 8 + [figures_of(4.0, 16.0), figures_of(100.0, 0.5)]
    best = recommended(images)
    assert best.suits == pytest.approx(0.9)
    assert 4.0 <= best.strength <= 16.0
    assert (best.least, best.most) == (4.0, 16.0)


def test_where_no_strength_is_both_seen_and_sound_it_is_the_end_of_half_the_images():
    assert recommended([figures_of(8.0, 2.0)]).strength == 2.0
    assert recommended([figures_of(8.0, 2.0)]).suits == 0
    assert recommended([]) is None
    assert recommended([{"gain": 1.0}]) is None


def test_from_its_gain_a_strength_predicts_the_target_in_the_region():
    [one, _] = make_basis(0).directions
    strength = from_gain(one, 3 * 4 * 5)
    assert strength * one.gain / math.sqrt(one.roi_area * 60) == pytest.approx(TARGET, rel=0.01)


def test_of_a_direction_that_changes_nothing_it_stays_a_strength():
    [one, _] = make_basis(0).directions
    assert from_gain(replace(one, gain=0.0), 60) == 128
    assert from_gain(replace(one, gain=1e-3, linear_range=3.0), 60) == 6


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], 1 / math.sqrt(2)),
        ([[1.0, 1.0], [1.0, 1.0]], 1 / 2),
        ([[1.0, -1.0], [-1.0, 1.0]], 1 / 2),
        ([[1.0]], 1.0),
    ],
)
def test_several_directions_share_the_length_of_one(cosines, expected):
    strengths = shared(cosines, [8.0] * len(cosines))
    assert strengths == pytest.approx([8.0 * expected] * len(cosines), rel=0.01)
