"""The report's figures against matrices and models whose figures are known."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch

from loco.discover import discover
from loco.errors import InputError
from loco.linalg import dense
from loco.linalg.dense import asymmetry, dense_jacobian, energy, rank_ratio, squared_singular_values
from loco.linalg.jacobian import JacobianOperator
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from loco.recipes import DiscoverRecipe
from loco.zoo import report as measures
from loco.zoo.report import Response, report, responses, signed, sweep
from tests.toys import box, factors, gaussian, orthonormal, save_pipeline, tiny_network, with_spectrum


def test_squared_singular_values_of_a_known_spectrum():
    mask = torch.arange(8) < 4
    matrix = with_spectrum(8, mask, (3, 2), (0.5,))
    values = squared_singular_values(matrix)
    oracle = torch.linalg.svdvals(matrix).square()
    torch.testing.assert_close(values, oracle, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("sigmas", "expected"),
    [
        ([1, 0, 0, 0], 1 / 4),
        ([1, 1, 1, 1], 1),
        ([10, 1, 0, 0], 1 / 4),  # 100 / 101 > 0.9801
        ([7, 1, 0, 0], 2 / 4),  # 49 / 50 = 0.98 does not exceed 0.9801
        ([3, 3, 0.1, 0.1], 2 / 4),
    ],
)
def test_rank_ratio_is_equation_10(sigmas, expected):
    assert rank_ratio(torch.tensor(sigmas, dtype=torch.float64).square()) == expected


def test_the_share_must_be_exceeded():
    assert rank_ratio(torch.tensor([0.5, 0.5], dtype=torch.float64), share=0.5) == 1


def test_energy_is_the_share_of_the_top():
    squares = torch.tensor([6.0, 2.0, 1.0, 1.0])
    assert energy(squares, 1) == pytest.approx(0.6)
    assert energy(squares, 2) == pytest.approx(0.8)
    assert energy(squares, 20) == 1


def test_asymmetry_of_known_matrices():
    symmetric = torch.tensor([[1.0, 2.0], [2.0, 5.0]])
    skew = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert asymmetry(symmetric) == 0
    assert asymmetry(skew) == pytest.approx(2)
    assert asymmetry(symmetric + skew) == pytest.approx(math.sqrt(8 / 36))


def test_the_dense_jacobian_of_a_linear_map_is_its_matrix():
    matrix = torch.randn(48, 48, dtype=torch.float64)
    operator = JacobianOperator(
        lambda x: (x.flatten(1) @ matrix.T).view_as(x), torch.randn(3, 4, 4, dtype=torch.float64)
    )
    told = []
    torch.testing.assert_close(dense_jacobian(operator, told.append), matrix)
    assert told == [48]


def test_the_dense_jacobian_in_blocks_that_do_not_fill(monkeypatch):
    monkeypatch.setattr(dense, "BLOCK", 20)
    model = gaussian(factors(5, (3, 4, 4)))
    x = torch.randn(3, 4, 4, dtype=torch.float64)
    told = []
    operator = JacobianOperator(lambda x_t: model.posterior_mean(x_t, 0.5), x)
    matrix = dense_jacobian(operator, told.append)
    torch.testing.assert_close(matrix, model.jacobian(0.5))
    assert told == [20, 20, 8]
    assert asymmetry(matrix) < 1e-12
    assert rank_ratio(squared_singular_values(matrix)) <= 5 / 48


def test_each_strength_counts_with_both_signs_once():
    assert signed((4, -4, 8)) == [4, -4, 8, -8]


def test_a_linear_model_is_measured_as_linear_and_its_local_factors_as_local():
    shape = (3, 6, 6)
    roi = box("top", shape, 0, 3, 0, 6)
    inside, outside = torch.zeros(2, 2, *shape, dtype=torch.float64)
    inside[:, :, :3] = orthonormal(2, 54, torch.Generator().manual_seed(0)).view(2, 3, 3, 6)
    outside[:, :, 3:] = orthonormal(2, 54, torch.Generator().manual_seed(1)).view(2, 3, 3, 6)
    model = gaussian(torch.cat([2 * inside, 3 * outside]), noise=1e-3)
    x_t = torch.randn(shape, dtype=torch.float64)
    recipe = DiscoverRecipe(t=0.5, rank=2, null_rank=2, tol=1e-4, dtype="float64")
    basis = discover(model, x_t, [roi], recipe, model="m", image_id="i")
    found = responses(model, x_t, basis, (4.0, 8.0))
    assert len(found) == 2 * 4
    assert {one.strength for one in found} == {4, -4, 8, -8}
    for one in found:
        assert isinstance(one, Response)
        assert one.roi == "top"
        assert one.cosine == pytest.approx(1, abs=1e-6)
        assert one.norm_ratio == pytest.approx(1, abs=1e-6)
        assert one.locality > 1e3


def test_a_model_that_saturates_is_measured_as_such():
    class Saturating:
        def __init__(self, inner):
            self.inner, self.shape, self.schedule, self.name = inner, inner.shape, inner.schedule, "s"

        def posterior_mean(self, x_t, t):
            return torch.tanh(self.inner.posterior_mean(x_t, t))

    shape = (3, 4, 4)
    model = Saturating(gaussian(factors(6, shape)))
    basis = discover(
        model,
        torch.zeros(shape, dtype=torch.float64),
        [box("top", shape, 0, 2, 0, 4)],
        DiscoverRecipe(t=0.5, rank=1, null_rank=1),
        model="m",
        image_id="i",
    )
    small, large = responses(model, torch.zeros(shape, dtype=torch.float64), basis, (0.01, 40.0))[::2]
    assert small.norm_ratio == pytest.approx(1, abs=1e-3)
    assert small.cosine == pytest.approx(1, abs=1e-3)
    assert large.norm_ratio < 0.5
    assert large.cosine < small.cosine


def test_nothing_found_is_nothing_measured():
    shape = (3, 4, 4)
    model = gaussian(torch.zeros(1, *shape, dtype=torch.float64), noise=0.0)
    roi = box("top", shape, 0, 2, 0, 4)
    basis = discover(
        model, torch.zeros(shape, dtype=torch.float64), [roi], DiscoverRecipe(t=0.5), model="m", image_id="i"
    )
    assert basis.directions == ()
    assert responses(model, torch.zeros(shape, dtype=torch.float64), basis, (4.0,)) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained network at the least size at which all regions show."""
    network = tiny_network(sample_size=16)
    return save_pipeline(
        tmp_path_factory.mktemp("model"),
        network=network,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
    )


@pytest.fixture
def quick(monkeypatch):
    for name, value in {
        "RECONSTRUCTION_STEPS": 4,
        "EDIT_STEPS": 2,
        "NOISE_DRAWS": 1,
        "VARIANCE_FACES": 8,
    }.items():
        monkeypatch.setattr(measures, name, value)
    monkeypatch.setattr(measures, "DiscoverRecipe", partial(DiscoverRecipe, max_rounds=2, null_rank=1))


def test_a_report_has_all_figures_in_plain_finite_data(folder, quick):
    told = []
    figures = report(
        folder,
        t=0.5,
        faces=2,
        strengths=(2.0,),
        dense=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    card, denoiser = open_folder(folder)
    assert figures["model"] == card.id
    assert figures["parameters"] == sum(p.numel() for p in denoiser.network.parameters())
    assert (
        figures["weights_bytes"] == (folder / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    )
    assert (figures["t"], figures["step"], figures["faces"]) == (0.5, 500, 2)
    assert figures["alpha_bar"] == denoiser.schedule.at(0.5)
    psnr = figures["reconstruction_psnr_db"]
    assert len(psnr["each"]) == 2
    assert psnr["mean"] == pytest.approx(np.mean(psnr["each"]))
    assert psnr["min"] == min(psnr["each"])
    assert figures["explained_variance"]["steps"] == [500, 600, 700]
    assert set(figures["explained_variance"]) == {"steps", "of_8", "of_2"}
    for figure in ("linearity", "locality", "directions"):
        assert set(figures[figure]) == {"mouth", "eyes", "hair"}
    for lines in figures["linearity"].values():
        assert set(lines) == {"+2", "-2"}
        for line in lines.values():
            assert line["cosine"]["min"] <= line["cosine"]["median"] <= 1
    assert 0 < figures["rank_ratio"] <= 1
    assert 0 < figures["energy_top_20"] <= 1
    assert figures["asymmetry"] > 0
    assert [row["t"] for row in figures["noised"]] == [0.4, 0.6, 0.8, 0.9]
    for row in figures["noised"]:
        assert row["alpha_bar"] == denoiser.schedule.at(row["t"])
        assert 0 < row["rank_ratio"] <= 1
        assert row["rank_ratio"] != figures["rank_ratio"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_without_a_dense_jacobian_its_figures_are_none(folder, quick):
    figures = report(folder, t=0.5, faces=1, strengths=(2.0,), dense=0)
    assert (figures["dense_faces"], figures["rank_ratio"], figures["asymmetry"]) == (0, None, None)
    assert figures["noised"] == []


def test_the_explained_variance_of_the_report_is_that_of_the_training(folder, quick):
    from loco.zoo.faces import faces
    from loco.zoo.train import explained_variance

    figures = report(folder, t=0.5, faces=1, strengths=(2.0,), dense=0)
    _, denoiser = open_folder(folder)
    x0 = torch.from_numpy(faces(measures.HELD_OUT, 8, 16).images).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = explained_variance(denoiser.network, denoiser.schedule.alpha_bar, x0, (500, 600, 700))
    assert figures["explained_variance"]["of_8"] == pytest.approx(expected, abs=1e-4)


def test_another_schedule_is_measured_at_the_same_alpha_bar(tmp_path):
    _, denoiser = open_folder(save_pipeline(tmp_path, network=tiny_network(sample_size=16)))
    steps = measures._variance_steps(denoiser)
    cosine = measures.make_scheduler().alphas_cumprod[[500, 600, 700]].tolist()
    assert steps != (500, 600, 700)
    for step, a in zip(steps, cosine, strict=True):
        assert float(denoiser.schedule.alpha_bar[step]) == pytest.approx(a, abs=0.003)


def test_a_sweep_has_a_row_for_each_level(folder, quick):
    told = []
    rows = sweep(
        folder,
        (0.4, 0.6),
        faces=1,
        strengths=(2.0, 4.0),
        progress=lambda done, total: told.append((done, total)),
    )
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["t"] for row in rows] == [0.4, 0.6]
    assert [row["step"] for row in rows] == [400, 599]
    for row in rows:
        assert set(row["cosine"]) == set(row["locality"]) == {"2", "4"}
        assert row["directions"] + row["refused"] == 9
        assert row["gain"] > 0
    assert told[-1] == (4, 4)


def test_the_level_comes_from_the_card_or_must_be_given(folder, quick, tmp_path):
    with pytest.raises(InputError, match="recommends no noise level"):
        report(folder)
    own = save_pipeline(tmp_path, network=tiny_network(sample_size=16), prediction_type="v_prediction")
    (own / "card.json").write_text('{"recommended_t": 0.3}')
    assert read_card(own).recommended_t == 0.3
    assert report(own, faces=1, strengths=(2.0,), dense=0)["t"] == 0.3


def test_faces_that_the_model_was_trained_on_are_refused(tmp_path):
    own = save_pipeline(tmp_path, network=tiny_network(sample_size=16))
    (own / "card.json").write_text('{"training": {"recipe": {"seed": 5}}}')
    with pytest.raises(InputError, match="trained on faces of seed 5"):
        report(own, t=0.5, seed=5)
    with pytest.raises(InputError, match="trained on faces of seed 5"):
        sweep(own, seed=5)
