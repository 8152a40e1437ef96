"""Levels read from a model's folder without torch: what the opened model's schedule says, for every family."""

import json
import subprocess
import sys

import numpy as np
import pytest

from loco.errors import InputError, ModelError
from loco.levels import wanted
from loco.models.card import read_card
from loco.models.levels import alpha_bar, resolved
from loco.models.noise import DIFFUSION
from loco.models.parametrisation import read_parametrisation
from tests.toys import save_pipeline

_KINDS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
_TO_ZERO = ("DDPM", "DDIM", "LCM", "TCD", "DDPMParallel", "PNDM", "DEISMultistep")
_BY_SIGMA = {"prediction_type": "v_prediction", "timestep_type": "continuous"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("model"))


def scheduled(folder, **noise):
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(noise))
    return folder


@pytest.mark.parametrize(
    "noise",
    [
        *({"_class_name": "DDPMScheduler", "beta_schedule": kind} for kind in _KINDS),
        {"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.4, 0.8, 0.9], "num_train_timesteps": 4},
        *({"_class_name": name} for name in DIFFUSION),
        *(
            {
                "_class_name": f"{name}Scheduler",
                "rescale_betas_zero_snr": True,
                "prediction_type": "v_prediction",
            }
            for name in _TO_ZERO
        ),
        {"_class_name": "EDMEulerScheduler"},
        {"_class_name": "EulerDiscreteScheduler", **_BY_SIGMA},
        {
            "_class_name": "EulerDiscreteScheduler",
            "use_karras_sigmas": True,
            "sigma_min": 0.01,
            "sigma_max": 500.0,
            **_BY_SIGMA,
        },
        {"_class_name": "EDMEulerScheduler", "sigma_schedule": "exponential", "sigma_max": 40.0},
        {"_class_name": "DDPMScheduler", "beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 100},
    ],
    ids=lambda noise: "-".join(map(str, noise.values()))[:60],
)
def test_they_are_those_of_the_opened_model(folder, noise):
    scheduled(folder, **noise)
    schedule = read_parametrisation(read_card(folder, hashed=False)).schedule
    np.testing.assert_allclose(alpha_bar(folder), schedule.alpha_bar.numpy(), rtol=3e-4, atol=1e-7)
    text = "abar:0.5"
    assert schedule.step(resolved(text, "m", str(folder))) == schedule.step(schedule.nearest(text))


def test_a_flow_matching_model_has_the_straight_path(tmp_path):
    from tests.families import build

    folder = build("sd3", tmp_path / "sd3")
    schedule = read_parametrisation(read_card(folder, hashed=False)).schedule
    np.testing.assert_allclose(alpha_bar(folder), schedule.alpha_bar.numpy(), rtol=1e-12)
    t = resolved("snr:1", "m", str(folder))
    assert schedule.at(t) == pytest.approx(0.5, abs=0.001)  # s = 1/2
    assert t == pytest.approx(0.5, abs=0.002)


def test_a_schedule_that_is_not_known_is_named(folder):
    scheduled(folder, _class_name="DDPMScheduler", beta_schedule="laplace")
    with pytest.raises(
        ModelError, match=r"its noise schedule is none that is known: beta_schedule 'laplace'"
    ):
        alpha_bar(folder)


def test_what_is_no_such_level_is_returned_for_whoever_checks_it(folder):
    assert [resolved(one, "m", "nowhere") for one in (0.5, "half", None, 3)] == [0.5, "half", None, 3]


def test_a_level_that_the_model_does_not_have_is_refused_by_its_name():
    for level in ("abar:0.999999", wanted("abar:0.999999")):
        with pytest.raises(
            InputError, match=r"model 'faces' has no level abar:0.999999: its levels are snr:"
        ):
            resolved(level, "faces", "zoo:faces32")


def test_no_torch_is_needed():
    code = "import sys; from loco.models.levels import resolved; resolved('snr:1', 'm', 'zoo:faces32'); "
    code += "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
