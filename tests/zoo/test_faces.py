"""Synthetic faces: determinism, exact regions, continuity, and that attributes mean what they say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loco.zoo import faces as zoo

NAMES = [a.name for a in zoo.ATTRIBUTES]


@pytest.fixture(scope="module")
def sampled() -> zoo.Faces:
    return zoo.faces(11, 200, 32)


def _dilate(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    out = mask.copy()
    for _ in range(steps):
        grown = out.copy()
        grown[:, 1:] |= out[:, :-1]
        grown[:, :-1] |= out[:, 1:]
        grown[:, :, 1:] |= out[:, :, :-1]
        grown[:, :, :-1] |= out[:, :, 1:]
        out = grown
    return out


def _share_within(name: str, low: float, high: float, regions: tuple[str, ...], steps: int) -> float:
    """Share of the absolute pixel change between two values that lies in the dilated regions of either."""
    table = zoo.sample_attributes(np.random.default_rng(5), 24)
    table[:, NAMES.index("glasses")] = 0
    before, after = table.copy(), table.copy()
    before[:, NAMES.index(name)], after[:, NAMES.index(name)] = low, high
    a, b = zoo.render_faces(before, 64), zoo.render_faces(after, 64)
    change = np.abs(a.images.astype(np.int64) - b.images.astype(np.int64)).sum(-1)
    assert (change.sum((1, 2)) > 0).all()
    near = np.zeros(change.shape, bool)
    for region in regions:
        near |= a.masks[region] | b.masks[region]
    return float(change[_dilate(near, steps)].sum() / change.sum())


def test_catalogue_is_well_formed() -> None:
    assert len(zoo.ATTRIBUTES) >= 32
    assert len(set(NAMES)) == len(NAMES)
    assert all(a.low <= a.default <= a.high and a.low < a.high and a.meaning for a in zoo.ATTRIBUTES)


def test_samples_are_in_range_and_mostly_without_glasses() -> None:
    table = zoo.sample_attributes(np.random.default_rng(0), 2000)
    assert table.dtype == np.float32
    assert table.shape == (2000, len(NAMES))
    for column, a in zip(table.T, zoo.ATTRIBUTES, strict=True):
        assert column.min() >= np.float32(a.low)
        assert column.max() <= np.float32(a.high)
        if a.name != "glasses":
            assert np.ptp(column) > 0.9 * (a.high - a.low), a.name
    assert 0.70 < (table[:, NAMES.index("glasses")] == 0).mean() < 0.80


def test_faces_are_deterministic_and_independent_of_count(sampled: zoo.Faces) -> None:
    few = zoo.faces(11, 7, 32)
    assert np.array_equal(few.images, sampled.images[:7])
    assert np.array_equal(few.attributes, sampled.attributes[:7])
    assert all(np.array_equal(few.masks[k], sampled.masks[k][:7]) for k in zoo.REGIONS)
    assert not np.array_equal(zoo.faces(12, 7, 32).images, few.images)


def test_render_gives_the_same_pixels_as_render_faces(sampled: zoo.Faces) -> None:
    assert np.array_equal(zoo.render(sampled.attributes[:50], 32), sampled.images[:50])
    assert sampled.images.shape == (200, 32, 32, 3)
    assert sampled.images.dtype == np.uint8


def test_regions_partition_the_image_and_eyes_are_the_union(sampled: zoo.Faces) -> None:
    assert tuple(sampled.masks) == zoo.REGIONS
    layers = np.stack([sampled.masks[k] for k in zoo.REGIONS if k != "eyes"])
    assert (layers.sum(0) == 1).all()
    assert np.array_equal(sampled.masks["eyes"], sampled.masks["left_eye"] | sampled.masks["right_eye"])


@pytest.mark.parametrize(
    "region", ["left_eye", "right_eye", "mouth", "hair", "skin", "nose", "brows", "clothes", "background"]
)
def test_every_face_shows_every_organ(sampled: zoo.Faces, region: str) -> None:
    assert sampled.masks[region].sum((1, 2)).min() >= 1


def test_eyes_and_mouth_remain_when_closed() -> None:
    masks = zoo.render_faces(zoo.attributes(eye_openness=0, mouth_openness=0, lip_thickness=-1), 32).masks
    assert masks["left_eye"].sum() >= 3
    assert masks["right_eye"].sum() >= 3
    assert masks["mouth"].sum() >= 8


def test_left_is_the_viewers_left(sampled: zoo.Faces) -> None:
    columns = np.arange(32)
    left = (sampled.masks["left_eye"] * columns).sum((1, 2)) / sampled.masks["left_eye"].sum((1, 2))
    right = (sampled.masks["right_eye"] * columns).sum((1, 2)) / sampled.masks["right_eye"].sum((1, 2))
    assert (left < right).all()


def test_glasses_mask_follows_the_attribute() -> None:
    assert not zoo.render_faces(zoo.attributes(), 64).masks["glasses"].any()
    assert zoo.render_faces(zoo.attributes(glasses=1), 64).masks["glasses"].sum() > 50


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_image_is_continuous_in_each_attribute(index: int) -> None:
    a = zoo.ATTRIBUTES[index]
    table = zoo.sample_attributes(np.random.default_rng(3), 12)
    step = np.float32(1e-3 * (a.high - a.low))
    table[:, index] = np.clip(table[:, index], a.low, a.high - step)
    moved = table.copy()
    moved[:, index] += step
    before, after = (zoo.render(t, 64).astype(np.int64) for t in (table, moved))
    # The fastest edge (the hair's lower end) moves by a 25th of a pixel: at most 255 / 25 levels.
    assert np.abs(before - after).max() <= (11 if a.name == "hair_length" else 4)


def test_mouth_curve_changes_the_mouth_only() -> None:
    assert _share_within("mouth_curve", -0.8, 0.8, ("mouth",), 2) > 0.97


def test_eye_openness_changes_the_eyes_only() -> None:
    assert _share_within("eye_openness", 0.2, 0.9, ("eyes",), 3) > 0.97


def test_hair_lightness_changes_hair_and_brows() -> None:
    assert _share_within("hair_lightness", 0.1, 0.9, ("hair", "brows"), 1) > 0.95


def test_clothes_and_background_colours_stay_in_place() -> None:
    assert _share_within("clothes_brightness", 0.1, 0.9, ("clothes",), 1) > 0.99
    assert _share_within("background_brightness", 0.1, 0.9, ("background",), 1) > 0.99


def test_smile_lifts_the_corners_of_the_mouth() -> None:
    rows = np.arange(128)[:, None]

    def drop(curve: float) -> float:
        mouth = zoo.render_faces(zoo.attributes(mouth_curve=curve), 128).masks["mouth"][0]
        columns = np.flatnonzero(mouth.any(0))
        height = (mouth * rows).sum(0)[columns] / mouth.sum(0)[columns]
        return float(height[len(height) // 2] - 0.5 * (height[1] + height[-2]))

    assert drop(1.0) > 3 > -3 > drop(-1.0)


def test_hair_lightness_lightens_hair() -> None:
    levels = []
    for value in (0.0, 0.5, 1.0):
        face = zoo.render_faces(zoo.attributes(hair_lightness=value), 32)
        levels.append(face.images[face.masks["hair"]].mean())
    assert levels[0] + 40 < levels[1] < levels[2] - 40


def test_supersampling_converges() -> None:
    table = zoo.sample_attributes(np.random.default_rng(2), 6)
    fine = zoo.render(table, 32, supersample=6).astype(np.float64)
    default = zoo.render(table, 32).astype(np.float64)
    assert np.abs(fine - default).mean() < 2.0


def test_errors() -> None:
    with pytest.raises(ValueError, match="smileyness"):
        zoo.attributes(smileyness=1)
    with pytest.raises(ValueError, match="yaw"):
        zoo.attributes(yaw=90)
    with pytest.raises(ValueError, match="yaw"):
        zoo.attributes(yaw=float("nan"))
    with pytest.raises(ValueError, match="shape"):
        zoo.render(np.zeros((2, 3), np.float32), 32)
    with pytest.raises(ValueError, match="size"):
        zoo.render(zoo.attributes(), 0)
    with pytest.raises(ValueError, match="supersample"):
        zoo.render(zoo.attributes(), 8, supersample=0)
    bad = zoo.attributes()
    bad[0, NAMES.index("pitch")] = 99
    with pytest.raises(ValueError, match="pitch"):
        zoo.render(bad, 8)
    for seed, count in ((-1, 2), (1, -2)):
        with pytest.raises(ValueError, match="negative"):
            zoo.faces(seed, count, 32)
    with pytest.raises(ValueError, match="negative"):
        zoo.sample_attributes(np.random.default_rng(0), -1)


def test_empty_batch() -> None:
    none = zoo.faces(0, 0, 16)
    assert none.images.shape == (0, 16, 16, 3)
    assert none.masks["mouth"].shape == (0, 16, 16)
