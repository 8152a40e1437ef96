"""Evaluation: equal change is equal, closed forms of its figures, intervals over images, and verdicts that can fail."""

import json
import math

import numpy as np
import pytest
import torch

from flows.studies.rendered import rendered, strongest
from loco.diffusion.schedule import Schedule
from loco.errors import InputError
from loco.evaluation.edits import blended, edited, measured
from loco.evaluation.methods import METHODS, base_of, find, told
from loco.evaluation.protocol import FILE, QUICK, SECTIONS, read_protocol
from loco.evaluation.table import over_images, table, verdicts
from loco.inversion import invert
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.faces import ATTRIBUTES, THINGS, attributes, render, render_faces

SIZE = 8
RECIPE = DiscoverRecipe(t=0.5, steps=4, rank=1, null_rank=2)
PROTOCOL = read_protocol()


class Shrinks:
    """The posterior mean of a Gaussian: blocks of 4 x 4 pixels vary together, each with a spread of its own."""

    def __init__(self) -> None:
        self.name, self.shape = "blocks", (3, SIZE, SIZE)
        self.schedule = Schedule("line", torch.linspace(0.9999, 0.1, 11, dtype=torch.float64))
        self.patterns = torch.zeros(4, 3, SIZE, SIZE)
        for k in range(4):
            y, x = divmod(k, 2)
            self.patterns[k, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 1
        self.patterns /= self.patterns.flatten(1).norm(dim=1)[:, None, None, None]
        self.spread = torch.tensor([4.0, 3.0, 2.0, 1.5])

    def posterior_mean(self, x_t, t):
        signal, noise = self.schedule.signal(t), self.schedule.noise(t)
        gain = signal * self.spread**2 / (signal**2 * self.spread**2 + noise**2)
        told = torch.einsum("bchw,kchw->bk", x_t, self.patterns) * gain
        return torch.einsum("bk,kchw->bchw", told, self.patterns)


def block(k):
    """The region of pattern k."""
    mask = np.zeros((SIZE, SIZE), bool)
    y, x = divmod(k, 2)
    mask[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = True
    return Roi(f"block{k}", mask, "test")


@pytest.fixture(scope="module")
def model():
    return Shrinks()


@pytest.fixture(scope="module")
def path(model):
    weights = torch.randn((3, 4), generator=torch.Generator().manual_seed(0))
    images = 0.3 * torch.einsum("bk,kchw->bchw", weights, model.patterns)
    return invert(model, images, RECIPE.t, RECIPE.steps)


@pytest.mark.parametrize("method", ["loco", "constrained", "no-null"])
def test_what_varies_in_a_region_alone_is_found_by_each_method_of_the_jacobian(model, path, method):
    rois = [block(0), block(3)]
    found = find(method, model, path.x_t[0], rois, RECIPE, "0" * 64)
    for roi, k in zip(rois, (0, 3), strict=True):
        cosine = (found.vectors[roi.name][0] * model.patterns[k]).sum().abs()
        assert cosine == pytest.approx(1, abs=1e-3)
    assert found.evaluations > 0


def test_noise_stays_in_its_region_and_another_regions_direction_is_anothers(model, path):
    rois = [block(0), block(3)]
    drawn = find("random", model, path.x_t[0], rois, RECIPE, "ab" * 32).vectors["block0"][0]
    assert drawn.norm() == pytest.approx(1, abs=1e-5)
    assert not drawn[:, ~torch.from_numpy(rois[0].mask.copy())].any()
    other = find("other-region", model, path.x_t[0], rois, RECIPE, "0" * 64).vectors["block0"][0]
    assert (other * model.patterns[3]).sum().abs() == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="two regions"):
        find("other-region", model, path.x_t[0], rois[:1], RECIPE, "0" * 64)


def test_the_jacobian_of_the_noise_is_the_identity_less_the_means(model, path):
    """(I - s J) / n is greatest where J is least."""
    found = find("eps", model, path.x_t[0], [block(0)], RECIPE, "0" * 64).vectors["block0"][0]
    assert (
        found * model.patterns[0]
    ).sum().abs() < 0.2  # the mean's own direction is the least of the noise's
    assert found.norm() == pytest.approx(1, abs=1e-5)


def test_a_model_without_a_middle_block_has_no_pullback(model, path):
    with pytest.raises(InputError, match="middle block"):
        find("pullback", model, path.x_t[0], [block(0)], RECIPE, "0" * 64)


@pytest.mark.parametrize("length", [1.0, 0.01])
def test_every_edit_changes_its_region_by_the_target_whatever_the_vectors_length(model, path, length):
    vectors = (length * model.patterns[0]).expand(3, -1, -1, -1)
    for sign in (1.0, -1.0):
        for one in edited(model, path, path.points[:, 0], [block(0)] * 3, vectors, sign, 0.1, 1e6, None):
            assert one.inside == pytest.approx(0.1, rel=1e-3)
            assert one.outside < 1e-6
            assert math.copysign(1, one.strength) == sign
            assert one.linear == pytest.approx(1, abs=1e-4)


def test_an_image_that_does_not_respond_is_left_at_the_longest_strength(model, path):
    silent = torch.zeros(3, 3, SIZE, SIZE)
    silent[:, 0, 0, 0], silent[:, 0, 0, 1] = 2**-0.5, -(2**-0.5)  # off every pattern
    for one in edited(model, path, path.points[:, 0], [block(0)] * 3, silent, 1.0, 0.1, 5.0, None):
        assert one.strength == pytest.approx(5.0)
        assert one.inside < 0.02


def test_a_judge_says_what_changed_and_blending_brings_in_the_other_image(path):
    images = path.points[:, 0]
    roi = block(1)
    edges = torch.from_numpy(roi.mask.copy()).float().expand(3, -1, -1)
    others = images + 0.4
    for one in blended(images, others, [roi] * 3, edges, 0.1, lambda batch: batch.mean((2, 3))):
        assert one.inside == pytest.approx(0.1, rel=1e-4)
        assert one.outside == 0
        assert one.psnr_outside == math.inf
        assert one.meaning == pytest.approx([0.1 / 4] * 3, rel=1e-3)  # a quarter of the pixels


def test_psnr_and_ssim_are_of_the_outside():
    images, change = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    change[:, :, :, 4:] = 0.02
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[:, :, :4] = True
    [one] = measured(images, change, masks, [1.0], None, None)
    assert one.psnr_outside == pytest.approx(40, abs=1e-3)  # 10 log10(4 / 0.02^2)
    assert one.inside == 0
    assert one.leakage == math.inf
    same = measured(images, torch.zeros_like(images), masks, [0.0], None, None)[0]
    assert same.ssim_outside == pytest.approx(1, abs=1e-12)


def test_intervals_are_over_images_and_not_over_their_edits():
    """Ten copies of each image's edit say no more than one."""
    random = np.random.default_rng(1)
    values = {f"i{k}": float(random.random() < 0.6) for k in range(50)}
    once = [{"image": name, "won": value} for name, value in values.items()]
    one, ten = over_images(once, "won"), over_images(once * 10, "won")
    assert one.value == ten.value == pytest.approx(np.mean(list(values.values())))
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)
    assert one.low < one.value < one.high
    assert over_images([{"image": "a", "won": None}], "won").images == 0


@pytest.mark.parametrize(
    "values", [[3.0], [1.0, 4.0], [5.0, 1.0, 2.0], [4.0, 1.0, 8.0, 2.0], [1.0, 1.0, 1.0, 9.0]]
)
def test_the_median_is_the_median(values):
    rows = [{"image": f"i{k % 3}", "won": value} for k, value in enumerate(values)]
    found = over_images(rows, "won", "median")
    assert found.value == np.median(values)
    assert min(values) <= found.low <= found.high <= max(values)


def row(method, image, won, roi="mouth"):
    """An edit of a held-out image."""
    return {
        **{"method": method, "roi": roi, "place": "held out", "image": image, "area": 0.03},
        **{"edit_success": None, "transfer_success": won, "agreement": 0.9, "leakage": 0.1},
        **{"psnr_outside": 42.0, "ssim_outside": 0.99, "linear": 0.98, "reached": 1.0},
    }


@pytest.mark.parametrize(("wins", "apart"), [(0.2, True), (0.97, False)])
def test_a_control_that_does_as_well_is_told(wins, apart):
    random = np.random.default_rng(2)
    rows = [row("loco", f"i{k}", k % 50 != 0) for k in range(200)]
    rows += [row("random", f"i{k}", bool(random.random() < wins)) for k in range(200)]
    found = {(one["method"], one["what"]): one for one in verdicts(table(rows), PROTOCOL)}
    assert found["loco", "transfer success"]["holds"]
    assert found["loco", "PSNR outside, median, mouth"]["holds"]
    assert found["loco", "transfer success over random, in standard errors"]["holds"] is apart


def test_methods_and_protocols_that_are_none_are_refused(tmp_path):
    assert [base_of(one) for one in METHODS] == list(METHODS)
    assert told("loco:null_rank=10,tol=0.05", RECIPE).null_rank == 10
    for wrong in ("best", "random-walk", "blend:rank=2", "dataset:rank=2"):
        with pytest.raises(InputError, match="is not known"):
            base_of(wrong)
    for wrong in ("loco:t=0.3", "loco:colour=1"):
        with pytest.raises(InputError, match="no knob"):
            told(wrong, RECIPE)
    with pytest.raises(InputError, match="rank"):
        told("loco:rank=-1", RECIPE)
    (tmp_path / "mine.toml").write_text("[sizes]\nsources = 3\n")
    with pytest.raises(InputError, match=r"section sizes: missing or unknown: held_out, .*longest"):
        read_protocol(tmp_path / "mine.toml")
    with pytest.raises(InputError, match="sources must be at least 1"):
        PROTOCOL.sized(sources=0)
    assert PROTOCOL.sized(**QUICK).held_out == QUICK["held_out"]


def test_the_renderers_own_edit_is_brought_to_the_target_and_moves_its_attribute_alone():
    rows = np.concatenate([attributes(), attributes(skin_tone=0.9, yaw=0.4)])
    drawn = render_faces(rows, 32)
    images = torch.from_numpy(np.moveaxis(drawn.images.astype(np.float32) / 127.5 - 1, 3, 1).copy())
    rois = [Roi("mouth", mask, "test") for mask in drawn.masks["mouth"]]
    for sign in (1.0, -1.0):
        names = ["lip_redness", "mouth_openness"]
        edits = rendered(rows, images, rois, names, sign, 0.05, None)
        for row, name, one in zip(rows, names, edits, strict=True):
            assert one.inside == pytest.approx(0.05, abs=0.004)
            column = [each.name for each in ATTRIBUTES].index(name)
            moved = row.copy()
            moved[column] += one.strength * (ATTRIBUTES[column].high - ATTRIBUTES[column].low)
            both = render(np.stack([row, moved]), 32).astype(np.float32) / 127.5
            np.testing.assert_allclose(one.change, np.moveaxis(both[1] - both[0], 2, 0), atol=1e-5)


def test_an_attribute_without_room_moves_no_further_and_the_strongest_is_of_the_region():
    row = attributes(hair_lightness=1.0)
    drawn = render_faces(row, 32)
    images = torch.from_numpy(np.moveaxis(drawn.images.astype(np.float32) / 127.5 - 1, 3, 1).copy())
    hair = Roi("hair", drawn.masks["hair"][0], "test")
    [one] = rendered(row, images, [hair], ["hair_lightness"], 1.0, 0.12, None)
    assert one.inside == 0
    assert math.isinf(one.leakage)
    assert strongest(row[0], hair, THINGS["hair"]) == "hair_lightness"


def test_the_packages_own_protocol_is_within_the_ranges_that_name_every_field():
    prefixed = {
        f"{section}_{key}" if section in ("edit", "transfer") else key
        for section, ranges in SECTIONS.items()
        for key in ranges
    }
    assert prefixed == set(PROTOCOL.plain())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("target = 0.12", "target = nan", ", section sizes: target must lie in (0, 2], found nan"),
        ("target = 0.12", 'target = "a"', ", section sizes: target must lie in (0, 2], found 'a'"),
        ("target = 0.12", "target = -1", ", section sizes: target must lie in (0, 2], found -1"),
        ("longest = 80.0", "longest = inf", ", section sizes: longest must lie in (0, 1000000], found inf"),
        ("rank = 3", "rank = 3.5", ", section sizes: rank must be a whole number from 1 to 10000, found 3.5"),
        (
            "rank = 3",
            "rank = true",
            ", section sizes: rank must be a whole number from 1 to 10000, found True",
        ),
        (
            "psnr_outside = 40.0",
            'psnr_outside = "high"',
            ", section verdicts: psnr_outside must lie in [0, 1000], found 'high'",
        ),
        (
            "[sizes]",
            "x = 1\n[sizes]",
            ": expected the sections sizes, edit, transfer, verdicts and claims, found x = 1",
        ),
        (
            "[edit]",
            "[edit]\nsmall = 1",
            ", section edit: missing or unknown: small; known are leakage",
        ),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_section_and_key(tmp_path, old, new, said):
    text = FILE.read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as refused:
        read_protocol(tmp_path / "mine.toml")
    assert str(refused.value) == f"protocol {tmp_path / 'mine.toml'}{said}"


def test_a_whole_number_means_the_same_as_one_with_a_point(tmp_path):
    (tmp_path / "mine.toml").write_text(FILE.read_text().replace("longest = 80.0", "longest = 80"))
    assert json.dumps(read_protocol(tmp_path / "mine.toml").plain()) == json.dumps(PROTOCOL.plain())
