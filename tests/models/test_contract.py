"""One contract for every family: small random models in the real format, identities that hold for any weights."""

import inspect
import json
import shutil

import pytest
import torch

from loco.diffusion.codec import Pixels, codec_of, seen
from loco.diffusion.denoiser import PREDICTIONS, prediction
from loco.diffusion.guidance import Guided, edited_under, under
from loco.diffusion.sampling import invert
from loco.discover import discover
from loco.errors import InputError, ModelError
from loco.linalg.jacobian import JacobianOperator
from loco.models.autoencoder import OneFrame
from loco.models.card import read_card
from loco.models.check import check
from loco.models.diffusers_folder import open_folder
from loco.models.network import NetworkDenoiser
from loco.models.parametrisation import Direct
from loco.recipes import DiscoverRecipe
from loco.rois.roi import from_box
from tests.families import BUILDERS, CLASSES, LATENT, SPOKEN, TOLD, build, prompt_for

T = 0.5
FRAMES = ("qwenimage",)
"""Models whose autoencoders are of videos."""
PATCHES = ("flux2", "flux2-distilled")
"""Models that diffuse patches of 2 x 2 cells."""
CORNERS = ("stable_diffusion-tiny", "sana")
"""Models whose decoders have ReLUs."""

FIGURES = {
    "inversion, then sampling, gives back the input (PSNR, dB)": lambda value: value > 20,
    "+ and - move the region opposite ways (cosine)": lambda value: value < -0.5,
}
"""What depends on the model: our random networks are calm, so that both are what they are for trained ones."""


def told(name, denoiser):
    """The model, told a class where it has to be."""
    return denoiser.told(prompt_for(name)) if name in CLASSES else denoiser


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Each model, built and opened once."""
    root, models = tmp_path_factory.mktemp("families"), {}

    def get(name):
        if name not in models:
            models[name] = open_folder(build(name, root / name))
        return models[name]

    return get


def recipe_for(name, **changes):
    words = {"prompt": prompt_for(name), "guidance": 2.0} if name in TOLD else {}
    words = {"prompt": prompt_for(name)} if name in CLASSES else words
    return DiscoverRecipe(**({"t": T, "steps": 10, "tol": 0.05, "max_rounds": 3} | words | changes))


@pytest.mark.parametrize("name", BUILDERS)
def test_every_identity_holds(opened, name, record_property):
    """Shapes, views, adjoint products, the round trip, both signs of a direction, the same basis again."""
    card, denoiser = opened(name)
    recipe = recipe_for(name)
    findings = check(under(denoiser, recipe), recipe, model=card.id)
    record_property("findings", {finding.name: finding.value for finding in findings})
    assert len(findings) == 9
    assert [finding for finding in findings if not finding.holds] == []
    corners = {"a central difference gives the exact product"} if name in CORNERS else set()
    assert {one.name for one in findings if one.bound is None} == set(FIGURES) | corners
    assert [one for one in findings if one.name in corners and one.value > 0.2] == []
    assert [one for one in findings if one.name in FIGURES and not FIGURES[one.name](one.value)] == []


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_that_says_it_another_way_is_the_same_model(opened, name):
    """The same model as epsilon, v, x0 and flow network: x0_hat agrees to 1e-5 of its size."""
    card, denoiser = opened(name)[0], told(name, opened(name)[1])
    x_t = torch.randn(2, *card.shape, generator=torch.Generator().manual_seed(0))
    expected = denoiser.posterior_mean(x_t, T)
    schedule = denoiser.schedule
    for kind in PREDICTIONS:

        def run(x, time, condition, kind=kind):
            signal, noise = schedule.signal(T), schedule.noise(T)
            return prediction(x, denoiser.posterior_mean(x, T), signal, noise, kind)

        clock = torch.arange(schedule.train_steps)
        view = NetworkDenoiser(card, denoiser.network, Direct(schedule, kind, clock), run)
        gap = (view.posterior_mean(x_t, T) - expected).abs().max() / expected.abs().max()
        assert float(gap) < 1e-5, kind


@pytest.mark.parametrize("name", BUILDERS)
def test_the_same_folder_elsewhere_is_the_same_model(opened, name, tmp_path):
    """Saved, copied, opened again: same id, same answers, same basis id."""
    card, denoiser = opened(name)
    again, other = open_folder(shutil.copytree(card.folder, tmp_path / "copy"))
    assert again.id == card.id
    x_t = torch.randn(1, *card.shape, generator=torch.Generator().manual_seed(0))
    first, second = (told(name, one).posterior_mean(x_t, T) for one in (denoiser, other))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", SPOKEN)
def test_in_double_precision_it_is_the_same_model(opened, name):
    """No part of it is left in another type, and float32 has rounded away nothing that matters."""
    card, denoiser = opened(name)
    double = open_folder(card.folder, dtype=torch.float64)[1]
    x_t = torch.randn(2, *card.shape, generator=torch.Generator().manual_seed(0))
    expected = denoiser.told("a red cat").posterior_mean(x_t, T)
    found = double.told("a red cat").posterior_mean(x_t.double(), T)
    assert found.dtype == codec_of(double).encode(codec_of(double).decode(found)).dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


def test_no_two_models_share_an_id(opened):
    ids = {name: opened(name)[0].id for name in BUILDERS if name != "unet2d-flat"}
    assert len(set(ids.values())) == len(ids)
    assert opened("unet2d-flat")[0].id == ids["unet2d"]  # the same files, laid out otherwise


@pytest.mark.parametrize("name", BUILDERS)
def test_the_card_knows_the_family(opened, name):
    card, denoiser = opened(name)
    kind = name.split("-")[0]
    assert card.family == {"edm": "unet2d", "consistency": "unet2d"}.get(kind, kind)
    assert card.told == ("a class" if name in ("dit", *CLASSES) else "words" if name in TOLD else "nothing")
    assert (card.image_shape != card.shape) == (name in LATENT or name == "unet2d-grey")
    own = sum(weight.numel() for weight in denoiser.network.state_dict().values())
    assert card.weights["unet" if "unet" in card.weights else "transformer"].parameters == own


# Against diffusers' own pipelines

SIZE = {"height": 16, "width": 16}
GRAY = torch.zeros(1, 3, 16, 16)
SIZES = {
    "sdxl-refiner": {"image": GRAY, "strength": 1.0},
    "sana": {"height": 32, "width": 32, "use_resolution_binning": False},
    "hunyuandit": {"height": 64, "width": 64, "use_resolution_binning": False},
    "pixart": SIZE | {"use_resolution_binning": False},
    "lumina2": {"height": 64, "width": 64},  # for its pipeline every autoencoder makes images 8 times smaller
}
TURNS = {"chroma": (1, 0), "lumina2": (1, 0), "qwenimage": (1, 0), "flux2": (1, 0)}
"""Pipelines that ask twice instead of two things at once: which of (nothing, the prompt) comes first."""


def calls_of(name, card, denoiser, prompt, negative=""):
    """What diffusers' pipeline on the folder asks its network, and gets: [(arguments by name, output)]."""
    import diffusers

    index = json.loads((card.folder / "model_index.json").read_text())
    pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(
        str(card.folder), local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    network = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    network.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((named(module, args, kwargs), output[0])),
        with_kwargs=True,
    )
    asked = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(1)}
    asked |= {"negative_prompt": negative} if negative else {}
    if name == "dit":
        pipeline(class_labels=[4], guidance_scale=4.0, output_type="np", **asked)
    elif name == "deepfloyd_if":
        pipeline(prompt, guidance_scale=4.0, output_type="pt", **asked)
    else:
        size = SIZES.get(name, SIZES.get(name.split("-")[0], SIZE))
        if name.endswith("inpaint"):  # all of a gray image is to be made anew, its latents being their mean
            size = SIZE | {"image": GRAY, "mask_image": torch.ones(1, 1, 16, 16), "strength": 1.0}
            size |= {"masked_image_latents": denoiser.codec.encode(GRAY)}
        guided = {"guidance_scale": 4.0}
        if name == "qwenimage":
            guided = {"true_cfg_scale": 4.0, "negative_prompt": negative}
        pipeline(prompt=prompt, output_type="latent", **(size | asked | guided))
    assert len(calls) >= 2
    return calls


def named(module, args, kwargs):
    """A network's arguments by name, as it was called."""
    names = list(inspect.signature(type(module).forward).parameters)[1:]
    told = dict(zip(names, args, strict=False)) | kwargs
    return told | (told.pop("added_cond_kwargs", None) or {})


def as_ours(name, card, x, time, output):
    """A pipeline's latents, time and answer as those of a latent model whose clock counts training steps."""
    if name.startswith("flux2"):
        rows = (len(x), *card.shape)
        images = [one.transpose(1, 2).reshape(rows) for one in (x, output)]
        return images[0], time * card.train_steps, images[1]
    if name.startswith(("flux", "chroma", "qwenimage")):
        from loco.models.flux import unpack

        return unpack(x, card.shape), time * card.train_steps, unpack(output, card.shape)
    if name == "auraflow":
        return x, time * card.train_steps, output
    if name == "lumina2":
        return x, (1 - time) * card.train_steps, -output
    return x, time, output


def compare(name, card, denoiser, calls, known):
    """Each call repeated: the same answer, and the network told the same."""
    told = []
    hook = denoiser.network.register_forward_hook(
        lambda module, args, kwargs, output: told.append(named(module, args, kwargs)), with_kwargs=True
    )
    both = known
    for turn, (given, output) in enumerate(calls):
        if name in TURNS:
            known = [both[TURNS[name][turn % 2]]]
        x = given.get("sample", given.get("hidden_states"))
        x, time, output = as_ours(name, card, x, given["timestep"], output)
        if name.endswith("inpaint"):
            x, seen = x[:, :4], x[:, 4:]
            assert bool((seen[:, 0] == 1).all())
            torch.testing.assert_close(seen[:, 1:], denoiser.codec.encode(GRAY).expand(len(seen), -1, -1, -1))
        assert len(x) == len(known)
        for row, one in enumerate(known):
            moment = time if time.ndim == 0 else time[row]
            mine = denoiser.run(x[row : row + 1], moment.expand(1), one.condition)
            torch.testing.assert_close(mine, output[row : row + 1], rtol=1e-4, atol=1e-5)
            for what, value in told.pop().items():
                theirs = given.get(what)
                if torch.is_tensor(value) and torch.is_tensor(theirs) and theirs.ndim:
                    theirs = theirs[row : row + 1] if len(theirs) == len(x) else theirs
                    assert value.shape == theirs.shape, what
                    close = 1e-4 if what == "timestep_cond" else 1e-5  # sines of thousands, in float32 there
                    torch.testing.assert_close(value, theirs, rtol=close, atol=close, check_dtype=False)
    hook.remove()


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning"
)  # of the pipelines themselves
@pytest.mark.parametrize("name", TOLD)
def test_what_the_pipeline_asks_and_gets_is_what_we_ask_and_get(opened, name):
    """diffusers' pipeline runs on the same folder; each call of its network is repeated by ours, words included."""
    card, denoiser = opened(name)
    known = [denoiser.led_from(""), denoiser.told(prompt_for(name))]
    if name == "dit":
        known.reverse()
    if denoiser.teller.distilled is not None:
        known = [denoiser.prompted(prompt_for(name), 4.0)]
    compare(name, card, denoiser, calls_of(name, card, denoiser, "a red cat"), known)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", SPOKEN)
def test_what_is_too_long_or_negative_is_told_as_the_pipeline_tells_it(opened, name):
    """A prompt that is cut off, with capitals and spaces around it, and a negative one."""
    card, denoiser = opened(name)
    prompt = " A Red cat." + " smile" * 600
    negative = "" if name == "flux2" else "a hat"  # whose pipeline knows no other
    known = [denoiser.led_from(negative), denoiser.told(prompt)]
    compare(name, card, denoiser, calls_of(name, card, denoiser, prompt, negative), known)


@pytest.mark.parametrize("name", ["edm", "sdxl-edm"])
def test_preconditioning_is_that_of_the_scheduler(opened, name):
    """In EDM's own coordinates y = sqrt(1 + sigma^2) x_t, c_in, c_skip and c_out are those of diffusers."""
    from diffusers import EDMEulerScheduler

    card, denoiser = opened(name)
    scheduler = EDMEulerScheduler.from_pretrained(str(card.place("scheduler")))
    way = denoiser.parametrisation
    x_t, output = torch.randn(2, 2, *card.shape, generator=torch.Generator().manual_seed(0))
    for t in (0.1, 0.5, 0.9):
        sigma = float(way.sigmas[denoiser.schedule.step(t)])
        y = (1 + sigma**2) ** 0.5 * x_t
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(
            way.network_input(x_t, t), scheduler.precondition_inputs(y, sigma), **close
        )
        expected = scheduler.precondition_outputs(y, output, sigma)
        torch.testing.assert_close(way.posterior_mean(x_t, output, t), expected, **close)
        torch.testing.assert_close(way.time(t).float(), scheduler.precondition_noise(sigma)[0], **close)
    ends = scheduler.sigmas[:-1].flip(0).double()
    assert float(way.sigmas[0]) == pytest.approx(float(ends[0]), rel=1e-4)
    assert float(way.sigmas[-1]) == pytest.approx(float(scheduler.sigmas[0]), rel=1e-4)


# Guidance


@pytest.mark.parametrize("name", ["stable_diffusion", "deepfloyd_if", "dit", "sd3", "sdxl-refiner"])
def test_guidance_is_a_sum_in_any_parametrisation(opened, name):
    """1 is the prompt alone, 0 nothing; and guided in the network's own terms it is the same."""
    card, denoiser = opened(name)
    prompt = prompt_for(name)
    x_t = torch.randn(1, *card.shape, generator=torch.Generator().manual_seed(0))
    null, told = denoiser.told(""), denoiser.told(prompt)
    alone = told.posterior_mean(x_t, T)
    assert torch.equal(denoiser.prompted(prompt, 1.0).posterior_mean(x_t, T), alone)
    torch.testing.assert_close(Guided(null, told, 0.0).posterior_mean(x_t, T), null.posterior_mean(x_t, T))
    time = denoiser.parametrisation.time(T).expand(1)
    time = time.float() if time.is_floating_point() else time
    first, second = (denoiser.run(x_t, time, one.condition)[:, : card.shape[0]] for one in (null, told))
    expected = denoiser.parametrisation.posterior_mean(x_t, first + 3.0 * (second - first), T)
    found = denoiser.prompted(prompt, 3.0).posterior_mean(x_t, T)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_is_told_nothing_takes_no_prompt(opened):
    _, denoiser = opened("unet2d")
    with pytest.raises(InputError, match="takes no prompt"):
        under(denoiser, DiscoverRecipe(t=T, prompt="a cat"))


def test_guidance_that_was_learnt_has_no_negative_prompt(opened):
    for name in ("lcm", "sdxl-lcm", "flux-dev", "flux2-distilled"):
        with pytest.raises(InputError, match="takes no negative prompt"):
            opened(name)[1].prompted("a cat", 2.0, "a hat")


# What is told in words


def test_an_encoder_that_says_it_was_a_part_is_what_its_pipeline_says(opened, tmp_path):
    """As an mT5 whose configuration names the whole of it."""
    card, denoiser = opened("hunyuandit")
    copy = shutil.copytree(card.folder, tmp_path / "copy")
    path = copy / "text_encoder_2" / "config.json"
    said = json.loads(path.read_text()) | {"architectures": ["MT5ForConditionalGeneration"]}
    path.write_text(json.dumps(said))
    again = open_folder(copy)[1].told("a red cat").condition["words_2"]
    torch.testing.assert_close(again, denoiser.told("a red cat").condition["words_2"])


@pytest.mark.parametrize(
    ("name", "file", "damage", "reason"),
    [
        ("lumina2", "tokenizer/tokenizer.json", None, "expected tokenizer to have a vocabulary"),
        ("stable_diffusion", "tokenizer/tokenizer.json", None, "expected tokenizer to have a vocabulary"),
        ("hunyuandit", "tokenizer_2/tokenizer.json", None, "expected tokenizer_2 to have a vocabulary"),
        ("kolors", "tokenizer/tokenizer.model", None, "expected tokenizer to have a vocabulary"),
        ("kolors", "tokenizer/tokenizer.model", b"not one", "tokenizer cannot be loaded: INTERNAL"),
        ("auraflow", "tokenizer/tokenizer_config.json", None, "to have a token for padding"),
        ("lumina2", "text_encoder/config.json", {"num_attention_heads": 0}, "cannot be loaded: integer"),
        ("lumina2", "text_encoder/config.json", {"hidden_size": 7}, "cannot be loaded: Class validation"),
        ("qwenimage", "text_encoder/config.json", {"text_config": [1]}, "cannot be loaded: Validation"),
        ("kolors", "model_index.json", {"force_zeros_for_empty_prompt": True}, "of which nobody says"),
    ],
)
def test_an_encoder_or_its_words_that_are_damaged_are_refused(opened, tmp_path, name, file, damage, reason):
    """A vocabulary that is not there would be made up, of marks alone."""
    copy = shutil.copytree(opened(name)[0].folder, tmp_path / "copy")
    path = copy / file
    if damage is None:
        path.unlink()
    elif isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(ModelError, match=reason):
        open_folder(copy)


def test_where_the_padding_is_makes_another_model(opened, tmp_path):
    """A tokenizer's own side counts where its pipeline asks for none, and it is in the id."""
    card, denoiser = opened("auraflow")
    copy = shutil.copytree(card.folder, tmp_path / "copy")
    path = copy / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "right"}))
    other, again = open_folder(copy)
    assert other.id != card.id
    left, right = (one.told("a red cat").condition["words"] for one in (denoiser, again))
    spoken = int((left.abs().sum(-1) > 0).sum())
    torch.testing.assert_close(left[:, -spoken:], right[:, :spoken])
    assert float(right[:, spoken:].abs().max()) == 0


def test_classes_are_named_or_numbered(opened):
    _, denoiser = opened("dit")
    number = {
        prompt: int(denoiser.told(prompt).condition["label"]) for prompt in ("", "3", "tabby cat", "Tiger")
    }
    assert number == {"": 1000, "3": 3, "tabby cat": 3, "Tiger": 4}
    for unknown in ("1000", "lion"):
        with pytest.raises(
            InputError, match=f"knows no class {unknown!r}; expected a number below 1000, or a name"
        ):
            denoiser.told(unknown)


# Latents


@pytest.mark.parametrize("name", [name for name in LATENT if name not in (*FRAMES, *PATCHES)])
def test_the_codec_is_the_autoencoder_s_own(opened, name):
    """encode gives what the pipelines diffuse: (mean - shift) scaling; decode undoes the constants."""
    card, denoiser = opened(name)
    codec = codec_of(denoiser)
    assert not isinstance(codec, Pixels)
    images = torch.rand(2, *card.image_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = codec.network.config
    found = codec.network.encode(images)
    mean = found.latent_dist.mean if hasattr(found, "latent_dist") else next(iter(found.values()))
    expected = (mean - (settings.get("shift_factor") or 0)) * settings.scaling_factor
    torch.testing.assert_close(codec.encode(images), expected)
    plain = {"force_not_quantize": True} if name == "ldm" else {}
    torch.testing.assert_close(
        codec.decode(expected), codec.network.decode(mean, **plain).sample, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", FRAMES)
def test_an_autoencoder_of_videos_takes_an_image_as_one_frame(opened, name):
    """As diffusers' own is told one frame; but for its cut at black and white, where ours goes on."""
    from diffusers import AutoencoderKLQwenImage

    card, denoiser = opened(name)
    network = AutoencoderKLQwenImage.from_pretrained(str(card.place("vae"))).eval()
    images = torch.rand(2, *card.image_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, spread = (
        torch.tensor(network.config[one]).reshape(1, -1, 1, 1) for one in ("latents_mean", "latents_std")
    )
    with torch.no_grad():
        found = network.encode(images[:, :, None]).latent_dist.mean[:, :, 0]
        x0 = (found - mean) / spread
        torch.testing.assert_close(codec_of(denoiser).encode(images), x0)
        shown = network.decode(found[:, :, None]).sample[:, :, 0]
        torch.testing.assert_close(codec_of(denoiser).decode(x0), shown, rtol=1e-4, atol=1e-5)
        network.decoder.conv_out.weight.mul_(20)
        beyond, shown = OneFrame(network).decode(found).sample, network.decode(found[:, :, None]).sample
        assert float(beyond.abs().max()) > 1
        torch.testing.assert_close(beyond.clamp(-1, 1), shown[:, :, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PATCHES)
def test_patches_are_those_of_the_pipeline(opened, name):
    """As Flux2KleinPipeline makes latents of an image, and an image of latents."""
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline

    card, denoiser = opened(name)
    network = AutoencoderKLFlux2.from_pretrained(str(card.place("vae"))).eval()
    images = torch.rand(2, *card.image_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = network.bn.running_mean.reshape(1, -1, 1, 1)
    spread = (network.bn.running_var.reshape(1, -1, 1, 1) + network.config.batch_norm_eps).sqrt()
    with torch.no_grad():
        cells = network.encode(images).latent_dist.mode()
        x0 = (Flux2KleinPipeline._patchify_latents(cells) - mean) / spread
        torch.testing.assert_close(codec_of(denoiser).encode(images), x0)
        assert x0.shape[1:] == card.shape
        again = Flux2KleinPipeline._unpatchify_latents(x0 * spread + mean)
        shown = network.decode(again).sample
        torch.testing.assert_close(codec_of(denoiser).decode(x0), shown, rtol=1e-4, atol=1e-5)


def test_a_template_of_conversations_that_is_not_known_is_refused(opened, tmp_path):
    """It would have to be run to be understood."""
    copy = shutil.copytree(opened("flux2")[0].folder, tmp_path / "copy")
    [path] = [one for one in (copy / "tokenizer").iterdir() if "enable_thinking" in one.read_text()]
    path.write_text(path.read_text().replace("enable_thinking", "hm"))
    with pytest.raises(ModelError, match="found one without 'enable_thinking'; templates are not run"):
        open_folder(copy)


def test_a_folder_that_says_no_size_has_that_of_its_pipeline(opened, tmp_path):
    copy = shutil.copytree(opened("qwenimage")[0].folder, tmp_path / "copy")
    path = copy / "transformer" / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sample_size"}))
    card = read_card(copy, hashed=False)
    assert (card.shape, card.image_shape) == ((4, 128, 128), (3, 256, 256))


def test_a_region_in_pixels_or_in_cells(opened):
    """Both find unit directions in latents; the cheap way leaves the decoder out."""
    card, denoiser = opened("stable_diffusion")
    roi = from_box("left", (0, 0, 0.5, 1), card.image_shape[1:])
    x_t = torch.randn(card.shape, generator=torch.Generator().manual_seed(0))
    found = {}
    for rows in ("pixels", "cells"):
        recipe = DiscoverRecipe(t=T, rank=1, null_rank=1, max_rounds=4, rows=rows)
        basis = discover(denoiser, x_t, [roi], recipe, model=card.id, image_id="0" * 64)
        assert basis.vectors.shape == (1, *card.shape)
        assert basis.rois[0].mask.shape == card.image_shape[1:]
        found[rows] = basis
    assert found["pixels"].id != found["cells"].id
    assert seen(denoiser, T)(x_t[None]).shape[1:] == card.image_shape
    assert seen(denoiser, T, decoded=False)(x_t[None]).shape[1:] == card.shape


# T-LOCO


@pytest.mark.parametrize(
    "name",
    ["stable_diffusion", "lcm", "deepfloyd_if", "sdxl", "dit", "sd3", "flux-schnell", "lumina2", "qwenimage"],
)
def test_a_direction_told_in_words(opened, name):
    """Before the projection it is J_e' M d, the gradient of <M f_e, M d>, with the sign of the edit."""
    card, denoiser = opened(name)
    words = {"prompt": "", "guidance": None} if name == "dit" else {}
    recipe = recipe_for(name, null_rank=0, edit_prompt="tiger" if name == "dit" else "a hat", **words)
    original, edited = under(denoiser, recipe), edited_under(denoiser, recipe)
    roi = from_box("middle", (0.25, 0.25, 0.75, 0.75), card.image_shape[1:])
    x_t = torch.randn(card.shape, generator=torch.Generator().manual_seed(0))
    basis = discover(original, x_t, [roi], recipe, model=card.id, image_id="0" * 64, edited=edited)
    [direction] = basis.directions
    mask = torch.from_numpy(roi.mask.copy())
    f_o, f_e = seen(original, T), seen(edited, T)
    with torch.no_grad():
        d = (f_e(x_t[None]) - f_o(x_t[None])) * mask
    point = x_t[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((f_e(point) * d).sum(), point)
    expected = gradient[0] / gradient.norm()
    torch.testing.assert_close(torch.from_numpy(basis.vectors[0].copy()), expected, rtol=1e-3, atol=1e-4)
    moved = JacobianOperator(f_e, x_t).mv(torch.from_numpy(basis.vectors[0].copy()).reshape(1, -1))
    assert float((moved.reshape(d.shape) * d).sum()) > 0
    assert direction.retained == pytest.approx(1)
    told = discover(
        original, x_t, [roi], recipe_for(name, null_rank=0, **words), model=card.id, image_id="0" * 64
    )
    assert told.id != basis.id


def test_the_factor_of_the_edit(opened):
    """f_e = f_o - m (n / s) (eps(c_e) - eps(null)): in terms of epsilon the factor is -n, not 1."""
    card, denoiser = opened("stable_diffusion")
    recipe = recipe_for("stable_diffusion", edit_prompt="a hat", edit_guidance=3.0)
    x_t = torch.randn(1, *card.shape, generator=torch.Generator().manual_seed(0))
    time = denoiser.parametrisation.time(T).expand(1)
    null, towards = (denoiser.run(x_t, time, denoiser.told(words).condition) for words in ("", "a hat"))
    signal, noise = denoiser.schedule.signal(T), denoiser.schedule.noise(T)
    expected = under(denoiser, recipe).posterior_mean(x_t, T) - 3.0 * noise / signal * (towards - null)
    found = edited_under(denoiser, recipe).posterior_mean(x_t, T)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# From a seed


@pytest.mark.parametrize("name", ["lcm", "deepfloyd_if"])
def test_from_a_seed_as_well_as_from_an_image(opened, name):
    """Pure noise sampled down to t is a point like any other."""
    from loco.diffusion.sampling import sample_from

    card, denoiser = opened(name)
    noise = torch.randn(1, *card.shape, generator=torch.Generator().manual_seed(0))
    x_t = sample_from(denoiser, noise, 1.0, T, 5)
    back = invert(denoiser, x_t, T, 1)
    assert x_t.shape == back.shape == noise.shape
    assert bool(x_t.isfinite().all())
