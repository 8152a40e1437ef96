"""Model folders: what is in the id, what is refused and how, and that an opened model is the saved one."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from tests.toys import save_pipeline, tiny_network

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def message(act, folder):
    with pytest.raises(ModelError) as caught:
        act(folder)
    return str(caught.value)


def test_the_card_says_what_the_folder_holds(saved):
    card = read_card(saved)
    assert card.folder == saved
    assert (card.family, card.prediction_type, card.shape) == ("unet2d", "epsilon", (3, 8, 8))
    assert (card.schedule, card.train_steps) == ("linear", 1000)
    assert (card.recommended_t, card.extra) == (None, {})


def test_a_card_file_is_read_and_is_not_in_the_id(saved, folder):
    (folder / "card.json").write_text('{"recommended_t": 0.55, "name": "tiny"}')
    card = read_card(folder)
    assert card.recommended_t == 0.55
    assert card.extra["name"] == "tiny"
    assert card.id == read_card(saved).id


def test_the_id_is_of_the_content_and_not_of_the_place(saved, folder):
    rewrite(folder / "unet/config.json", _diffusers_version="9.9", _name_or_path="elsewhere")
    rewrite(folder / "scheduler/scheduler_config.json", _diffusers_version="9.9", clip_sample=False)
    assert read_card(folder).id == read_card(saved).id


def test_one_weight_changes_the_id(saved, folder):
    tensors = load_file(folder / WEIGHTS)
    tensors["conv_in.bias"][0] += 1e-3
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert read_card(folder).id != read_card(saved).id


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "squaredcos_cap_v2"}),
        ("scheduler/scheduler_config.json", {"beta_end": 0.03}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 500}),
        ("unet/config.json", {"norm_eps": 1e-6}),
        ("unet/config.json", {"sample_size": 16}),
    ],
)
def test_what_changes_the_posterior_mean_changes_the_id(saved, folder, file, change):
    rewrite(folder / file, **change)
    assert read_card(folder).id != read_card(saved).id


def test_a_folder_that_is_not_there(tmp_path):
    assert message(read_card, tmp_path / "no") == (
        f"model folder {tmp_path / 'no'} does not exist; name the folder of a diffusers pipeline"
    )


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("model_index.json", "a diffusers pipeline"),
        ("unet/config.json", "the network's configuration"),
        ("scheduler/scheduler_config.json", "the noise schedule"),
    ],
)
def test_a_folder_that_is_no_pipeline(folder, file, what):
    (folder / file).unlink()
    assert message(read_card, folder) == (
        f"model folder {folder}: expected {what} in {file}, found no such file; "
        f"name the folder of a diffusers pipeline (saved with save_pretrained)"
    )


@pytest.mark.parametrize("level", [5, 0, 1, -0.5, True, "0.5", [0.5]])
def test_a_recommended_t_outside_of_0_to_1_is_refused(folder, level):
    (folder / "card.json").write_text(json.dumps({"recommended_t": level}))
    assert message(read_card, folder) == (
        f"model folder {folder}: recommended_t must lie in (0, 1), found {level!r}; correct its configuration"
    )


def test_a_model_without_tensors_is_refused(folder):
    from safetensors.numpy import save_file

    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({}, weights)
    assert message(read_card, folder) == (
        f"weights {weights}: expected a whole safetensors file, found one without any tensor; fetch the model again"
    )


def test_a_pipeline_of_another_class(folder):
    rewrite(folder / "model_index.json", _class_name="AudioLDMPipeline")
    assert message(read_card, folder) == (
        f"model folder {folder}: expected one of DDPMPipeline, LDMPipeline, StableDiffusionPipeline, "
        f"StableDiffusionXLPipeline, LatentConsistencyModelPipeline, IFPipeline, KolorsPipeline, DiTPipeline, "
        f"PixArtAlphaPipeline, ChromaPipeline, StableDiffusion3Pipeline, FluxPipeline, Lumina2Pipeline, SanaPipeline, "
        f"AuraFlowPipeline, HunyuanDiTPipeline, QwenImagePipeline, "
        f"Flux2KleinPipeline, "
        f"found 'AudioLDMPipeline'"
    )


@pytest.mark.parametrize(
    ("file", "change", "found"),
    [
        (
            "unet/config.json",
            {"_class_name": "UNet2DConditionModel"},
            "expected unet to be a UNet2DModel, found 'UNet2DConditionModel'",
        ),
        (
            "unet/config.json",
            {"class_embed_type": "identity"},
            "found a network that takes class labels (class_embed_type 'identity', num_class_embeds None), "
            "which is known only of UNet2DModel with num_class_embeds",
        ),
        (
            "unet/config.json",
            {"in_channels": 2},
            "expected 1 or 3 channels at a fixed size, found in_channels 2 and sample_size 8",
        ),
        (
            "unet/config.json",
            {"sample_size": None},
            "expected 1 or 3 channels at a fixed size, found in_channels 3 and sample_size None",
        ),
        (
            "unet/config.json",
            {"sample_size": [8]},
            "expected 1 or 3 channels at a fixed size, found in_channels 3 and sample_size [8]",
        ),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "flow"},
            "expected prediction_type epsilon, v_prediction or sample, found 'flow'",
        ),
        (
            "scheduler/scheduler_config.json",
            {"num_train_timesteps": "many"},
            "num_train_timesteps must be a whole number from 1 to 1000000, found 'many'; correct its configuration",
        ),
        *(
            (
                "scheduler/scheduler_config.json",
                {"num_train_timesteps": number},
                f"num_train_timesteps must be a whole number from 1 to 1000000, found {number}; "
                "correct its configuration",
            )
            for number in (0, -5, 10**9, 1000.5, True)
        ),
        (
            "scheduler/scheduler_config.json",
            {"beta_end": 1.5},
            "beta_end must lie in (0, 1], found 1.5; correct its configuration",
        ),
        (
            "unet/config.json",
            {"sample_size": 10**9},
            "expected 1 or 3 channels at a fixed size, found in_channels 3 and sample_size 1000000000",
        ),
    ],
)
def test_networks_and_schedules_that_are_not_supported(folder, file, change, found):
    rewrite(folder / file, **change)
    assert message(read_card, folder) == f"model folder {folder}: {found}"


def test_weights_that_can_run_code_are_not_read(folder):
    (folder / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.bin")
    assert message(read_card, folder) == (
        f"model folder {folder}: expected weights in {WEIGHTS}, found diffusion_pytorch_model.bin; "
        f"other formats can run code when opened and are not read: "
        f"`loco model add` converts what it can without executing anything"
    )


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_json_that_is_broken(folder, content):
    path = folder / "unet/config.json"
    path.write_bytes(content)
    kind = "expected a JSON object, found list" if content == b"[]" else "expected JSON, found "
    assert message(read_card, folder).startswith(f"model file {path}: {kind}")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999])
def test_weights_that_are_cut_short(folder, keep):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: keep if keep > 1 else int(keep * len(data))])
    assert message(read_card, folder).startswith(
        f"weights {folder / WEIGHTS}: expected a whole safetensors file, found "
    )


def test_weights_of_another_shape(folder):
    rewrite(folder / "unet/config.json", block_out_channels=[16, 32])
    assert message(open_folder, folder).startswith(f"model folder {folder}: its weights cannot be loaded: ")


def test_weights_that_are_missing_or_too_many_are_not_made_up(folder):
    tensors = load_file(folder / WEIGHTS)
    del tensors["conv_in.bias"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert message(open_folder, folder) == (
        f"model folder {folder}: its weights do not fit its configuration: missing conv_in.bias"
    )
    tensors["conv_in.bias"] = torch.zeros(8)
    tensors["conv_on.bias"] = torch.zeros(8)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert message(open_folder, folder) == (
        f"model folder {folder}: its weights do not fit its configuration: unexpected conv_on.bias"
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_opened_model_is_the_saved_one(tmp_path, prediction_type):
    """x0_hat equals that of the diffusers scheduler for the same network output."""
    from diffusers import DDPMScheduler

    network = tiny_network().eval()
    folder = save_pipeline(
        tmp_path / "model", network=network, prediction_type=prediction_type, clip_sample=False
    )
    card, denoiser = open_folder(folder)
    assert (denoiser.name, denoiser.shape, card.prediction_type) == ("model", (3, 8, 8), prediction_type)
    x_t, step = torch.randn(2, 3, 8, 8), denoiser.schedule.step(0.6)
    with torch.no_grad():
        output = network(x_t, step).sample
        found = denoiser.posterior_mean(x_t, 0.6)
    scheduler = DDPMScheduler.from_pretrained(str(folder / "scheduler"))
    expected = scheduler.step(output, step, x_t).pred_original_sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_learned_variance_is_left_out(tmp_path):
    folder = save_pipeline(tmp_path / "model", network=tiny_network(out_channels=6))
    _, denoiser = open_folder(folder)
    assert denoiser.posterior_mean(torch.randn(2, 3, 8, 8), 0.6).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_opened_model_is_frozen_quiet_and_of_one_type(saved, dtype, capfd):
    _, denoiser = open_folder(saved, dtype=dtype)
    parameters = list(denoiser.network.parameters())
    assert {parameter.dtype for parameter in parameters} == {dtype}
    assert not any(parameter.requires_grad for parameter in parameters)
    assert not denoiser.network.training
    assert denoiser.posterior_mean(torch.randn(1, 3, 8, 8, dtype=dtype), 0.6).dtype == dtype
    assert capfd.readouterr() == ("", "")


def test_items_of_a_batch_do_not_see_each_other(saved):
    _, denoiser = open_folder(saved, dtype=torch.float64)
    x_t = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    alone = torch.cat([denoiser.posterior_mean(one[None], 0.6) for one in x_t])
    torch.testing.assert_close(denoiser.posterior_mean(x_t, 0.6), alone, rtol=0, atol=1e-10)


def test_float64_is_not_rounded_on_the_way(saved):
    """A change of 1e-9 arrives as the exact derivative says; float32 anywhere inside would drown it."""
    _, denoiser = open_folder(saved, dtype=torch.float64)
    x, v = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    _, product = torch.func.jvp(lambda y: denoiser.posterior_mean(y, 0.6), (x,), (v,))
    moved = denoiser.posterior_mean(x + 1e-6 * v, 0.6) - denoiser.posterior_mean(x, 0.6)
    assert float((moved / 1e-6 - product).norm() / product.norm()) < 1e-4


def test_reading_a_card_imports_no_torch():
    code = "import sys, loco.models.card, loco.models.source; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
