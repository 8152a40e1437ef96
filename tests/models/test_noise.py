"""What a scheduler says of a model: which keys count, which are the sampler's business, and what is refused."""

import inspect
import json
import math
import shutil

import pytest
import torch

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from loco.models.noise import CONSISTENCY, DIFFUSION, EDM, FLOW, LEVELS, PLAIN, SAMPLING, SIGMAS
from tests.families import build
from tests.toys import save_pipeline, tiny_network


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    return {
        "unet2d": save_pipeline(root / "unet2d"),
        **{name: build(name, root / name) for name in ("sdxl", "sdxl-continuous", "sd3", "consistency")},
    }


@pytest.fixture
def copy(saved, tmp_path):
    return lambda name: shutil.copytree(saved[name], tmp_path / name)


def scheduled(folder, **changes):
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def refused(folder):
    with pytest.raises(ModelError) as caught:
        read_card(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", [*DIFFUSION, *EDM, *FLOW, *CONSISTENCY])
def test_every_key_of_every_known_class_is_understood(name):
    import diffusers

    keys = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self", "args", "kwargs"}
    assert keys - {*LEVELS, *SIGMAS, *SAMPLING, *PLAIN} == set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers' own schedulers
@pytest.mark.parametrize("name", DIFFUSION)
def test_every_scheduler_of_diffusion_gives_its_own_alpha_bar(copy, name):
    """Also TCD, KDPM2, SASolver, DDIMParallel, and those whose samplers want a library that is not here."""
    import diffusers

    betas = {"beta_start": 0.001, "beta_end": 0.015, "beta_schedule": "scaled_linear"}
    folder = scheduled(copy("unet2d"), _class_name=name, **betas)
    card, denoiser = open_folder(folder)
    assert card.prediction_type == "epsilon"
    own = getattr(diffusers, name)
    known = own if "beta_start" in inspect.signature(own.__init__).parameters else diffusers.DDPMScheduler
    expected = known(num_train_timesteps=1000, **betas).alphas_cumprod
    torch.testing.assert_close(denoiser.schedule.alpha_bar, expected.double())


def test_a_continuous_clock_is_ln_sigma_over_4_and_x0_is_the_scheduler_s(copy):
    """EulerDiscreteScheduler with timestep_type continuous and v_prediction: told 0.496 where it was told 873."""
    from diffusers import EulerDiscreteScheduler

    folder = copy("sdxl-continuous")
    card, denoiser = open_folder(folder)
    assert card.prediction_type == "edm-v_prediction"
    scheduler = EulerDiscreteScheduler.from_pretrained(str(folder / "scheduler"))
    x_t, output = torch.randn(2, 1, *card.shape, generator=torch.Generator().manual_seed(0))
    way = denoiser.parametrisation
    assert float(way.time(873 / 999)) == pytest.approx(0.496, abs=2e-3)
    for step in (100, 500, 873):
        t = denoiser.schedule.level(step)
        place = 999 - step
        sigma = float(scheduler.sigmas[place])
        assert float(way.time(t)) == pytest.approx(float(scheduler.timesteps[place]), abs=1e-5)
        scheduler._step_index = place
        y = (1 + sigma**2) ** 0.5 * x_t  # in the scheduler's own coordinates
        torch.testing.assert_close(way.network_input(x_t, t), y / (sigma**2 + 1) ** 0.5, rtol=1e-5, atol=1e-5)
        expected = scheduler.step(output, scheduler.timesteps[place], y).pred_original_sample
        torch.testing.assert_close(way.posterior_mean(x_t, output, t), expected, rtol=1e-4, atol=1e-4)


def test_a_range_of_sigma_is_the_levels_of_a_continuous_clock(copy):
    """As video and CosXL models say it: use_karras_sigmas from sigma_min to sigma_max."""
    folder = scheduled(copy("sdxl-continuous"), use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0)
    card, denoiser = open_folder(folder)
    sigmas = denoiser.parametrisation.sigmas
    assert (float(sigmas[0]), float(sigmas[-1])) == (pytest.approx(0.002), pytest.approx(700.0))
    assert float(denoiser.parametrisation.time(1.0)) == pytest.approx(math.log(700) / 4)
    assert card.id != read_card(scheduled(folder, sigma_max=120.0)).id


def test_the_clock_of_a_continuous_model_is_in_its_id(copy):
    folder = copy("sdxl-continuous")
    before = read_card(folder).id
    assert read_card(scheduled(folder, timestep_type="discrete")).id != before


def test_a_consistency_model_s_x0_is_the_scheduler_s(copy):
    """c_skip, c_out, c_in and the clock of CMStochasticIterativeScheduler, at each of its levels."""
    from diffusers import CMStochasticIterativeScheduler

    folder = copy("consistency")
    card, denoiser = open_folder(folder)
    scheduler = CMStochasticIterativeScheduler.from_pretrained(str(folder / "scheduler"))
    scheduler.set_timesteps(card.train_steps)
    way, (x_t, output) = denoiser.parametrisation, torch.randn(2, 1, *card.shape)
    for place in (0, 10, 38):
        t = denoiser.schedule.level(card.train_steps - 1 - place)
        sigma = float(scheduler.sigmas[place])
        assert float(way.time(t)) == pytest.approx(float(scheduler.timesteps[place]), rel=1e-5)
        y = (1 + sigma**2) ** 0.5 * x_t
        scheduler._step_index = place
        shown = scheduler.scale_model_input(y, scheduler.timesteps[place])
        torch.testing.assert_close(way.network_input(x_t, t), shown, rtol=1e-5, atol=1e-5)
        skip, out = scheduler.get_scalings_for_boundary_condition(sigma)
        torch.testing.assert_close(
            way.posterior_mean(x_t, output, t), skip * y + out * output, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("sd3", {"invert_sigmas": True}, "invert_sigmas = True, which makes it a model of a kind"),
        (
            "unet2d",
            {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
            "use_flow_sigmas = True, which makes it",
        ),
        ("unet2d", {"snr_shift_scale": 3.0}, "snr_shift_scale = 3.0, which makes it"),
        ("unet2d", {"timestep_type": "logarithmic"}, "expected timestep_type discrete or continuous"),
        ("unet2d", {"warp": "cubic"}, "warp = 'cubic', which is not understood"),
        ("unet2d", {"_class_name": "IPNDMScheduler"}, "found 'IPNDMScheduler'"),
        ("unet2d", {"_class_name": "CogVideoXDDIMScheduler"}, "found 'CogVideoXDDIMScheduler'"),
    ],
)
def test_what_would_make_it_another_model_is_refused(copy, name, change, found):
    assert found in refused(scheduled(copy(name), **change))


def test_what_only_samplers_need_changes_nothing(copy):
    folder = copy("unet2d")
    before = read_card(folder).id
    said = {
        "clip_sample": True,
        "thresholding": True,
        "use_karras_sigmas": True,
        "timestep_spacing": "trailing",
    }
    assert read_card(scheduled(folder, **said)).id == before


def test_levels_that_are_left_to_the_class_are_those_of_the_class(copy):
    folder = copy("unet2d")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "DDPMScheduler", "num_train_timesteps": 1000}))
    before = read_card(folder).id
    assert read_card(scheduled(folder, _class_name="PNDMScheduler")).id == before
    assert read_card(scheduled(folder, _class_name="LCMScheduler")).id != before
    assert open_folder(folder)[1].schedule.alpha_bar[-1] == pytest.approx(0.0047, abs=2e-4)


def test_a_flow_by_a_solver_of_diffusion_is_a_flow(copy):
    """As Sana's scheduler says it: DPM-Solver with flow_prediction and use_flow_sigmas."""
    folder = copy("sd3")
    before = open_folder(folder)[1].schedule.alpha_bar
    said = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction"}
    card, denoiser = open_folder(scheduled(folder, **said, use_flow_sigmas=True, flow_shift=3.0))
    assert card.prediction_type == "flow"
    torch.testing.assert_close(denoiser.schedule.alpha_bar, before)


def test_grey_images_are_seen_as_the_model_sees_them(tmp_path):
    """Luma in, three equal channels out; a grey image comes back as it is."""
    folder = save_pipeline(tmp_path / "grey", network=tiny_network(in_channels=1, out_channels=1))
    card, denoiser = open_folder(folder)
    assert (card.shape, card.image_shape) == ((1, 8, 8), (3, 8, 8))
    grey = torch.rand(2, 1, 8, 8).expand(-1, 3, -1, -1)
    torch.testing.assert_close(denoiser.codec.decode(denoiser.codec.encode(grey)), grey)
    red = torch.zeros(1, 3, 8, 8).index_fill(1, torch.tensor(0), 1.0)
    assert float(denoiser.codec.encode(red).mean()) == pytest.approx(0.299)
