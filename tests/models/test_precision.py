"""Half precision: the network alone rounds; points, vectors and sums stay in float32, and what it costs is measured."""

import pytest
import torch

from loco.diffusion.codec import seen
from loco.diffusion.guidance import under
from loco.discover import discover
from loco.edit import edit, first_order
from loco.errors import InputError
from loco.inversion import invert
from loco.linalg.jacobian import JacobianOperator
from loco.measure.metrics import psnr
from loco.models.check import check
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.precision import algebra, rounding
from loco.recipes import DiscoverRecipe, EditRecipe
from loco.rois.roi import from_box
from tests.families import build

T = 0.5
HALVES = [torch.bfloat16, torch.float16]
NAMES = [
    *("unet2d", "edm", "sdxl", "sd3", "chroma", "deepfloyd_if"),
    *("lumina2", "sana", "auraflow", "hunyuandit", "kolors", "qwenimage", "flux2"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("halves")
    return {name: build(name, root / name) for name in NAMES}


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def told(denoiser):
    return denoiser.told("a red cat") if denoiser.teller is not None else denoiser


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_what_goes_in_and_comes_out_is_float32_and_near(saved, name, dtype):
    card, denoiser = open_folder(saved[name], dtype=dtype)
    assert {weight.dtype for weight in denoiser.network.parameters()} == {dtype}
    x_t = noise(2, *card.shape)
    found = told(denoiser).posterior_mean(x_t, T)
    assert found.dtype == torch.float32
    exact = told(open_folder(saved[name])[1]).posterior_mean(x_t, T)
    gap = float((found - exact).norm() / exact.norm())
    assert gap < (0.03 if dtype == torch.bfloat16 else 0.005)
    picture = denoiser.codec.decode(found)
    assert picture.dtype == denoiser.codec.encode(picture).dtype == torch.float32


def test_the_clock_is_not_rounded(saved):
    """ln(sigma) / 4 in a half would be another level, and step 873 would be 872."""
    denoiser = open_folder(saved["edm"], dtype=torch.bfloat16)[1]
    seen_times = []
    run = denoiser.run
    denoiser.run = lambda x, time, condition: seen_times.append((x.dtype, time)) or run(x, time, condition)
    denoiser.posterior_mean(noise(1, *denoiser.shape), T)
    [(shown, time)] = seen_times
    assert (shown, time.dtype) == (torch.bfloat16, torch.float32)
    assert float(time) == pytest.approx(float(denoiser.parametrisation.time(T)), rel=1e-6)


def test_sizes_that_are_told_are_not_rounded(saved):
    """1023 in bfloat16 is 1024."""
    denoiser = open_folder(saved["sdxl"], dtype=torch.bfloat16)[1]
    assert denoiser.told("a cat").condition["size"].dtype == torch.float32


def test_an_autoencoder_that_overflows_stays_in_float32(saved):
    assert open_folder(saved["sdxl"], dtype=torch.float16)[1].codec.dtype == torch.float32
    assert open_folder(saved["sdxl"], dtype=torch.bfloat16)[1].codec.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", HALVES)
def test_the_step_of_a_difference_is_that_of_the_network_s_type(saved, dtype):
    """With float32's step the product of a network in bfloat16 is mostly rounding."""
    card, denoiser = open_folder(saved["unet2d"], dtype=dtype)
    f, exact = seen(denoiser, T), seen(open_folder(saved["unet2d"])[1], T)
    x, v = noise(*card.shape), noise(2, *card.shape).flatten(1)
    wanted = JacobianOperator(exact, x, forward="exact").mv(v)

    def gap(rounding):
        found = JacobianOperator(f, x, rounding=rounding).mv(v)
        return float((found - wanted).norm() / wanted.norm())

    assert gap(dtype) < 0.1
    assert gap(None) > 3 * gap(dtype)


def test_what_wraps_a_denoiser_knows_its_rounding(saved):
    denoiser = open_folder(saved["sdxl"], dtype=torch.bfloat16)[1]
    guided = under(denoiser, DiscoverRecipe(t=T, prompt="a cat", guidance=3.0))
    assert rounding(guided) == rounding(denoiser) == torch.bfloat16
    assert rounding(open_folder(saved["sdxl"])[1]) is None
    assert (algebra("bfloat16"), algebra("float16"), algebra("float64")) == (
        torch.float32,
        torch.float32,
        torch.float64,
    )


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_directions_are_found_and_applied_and_the_loss_is_measured(record_property, dtype):
    """On the embedded model: a direction's response, and an edit, against float32 in the same place."""
    faces = model_folder("zoo:faces32")
    whole, half = (open_folder(faces, dtype=getattr(torch, one))[1] for one in ("float32", dtype))
    image = torch.nn.functional.interpolate(noise(1, 3, 4, 4), (32, 32), mode="bicubic").clamp(-1, 1)
    recipe = DiscoverRecipe(
        t=T, steps=4, rank=1, null_rank=1, tol=0.2, max_rounds=4, ranged=False, dtype=dtype
    )
    path = invert(half, image, T, 4)
    assert path.x_t.dtype == path.means.dtype == torch.float32
    basis = discover(half, path, [from_box("mouth", (0.3, 0.6, 0.7, 0.85), (32, 32))], recipe)
    [direction] = basis.directions
    vector = torch.from_numpy(basis.vectors[0].copy())
    response = JacobianOperator(seen(whole, T), path.x_t[0], forward="exact").mv(vector.reshape(1, -1))
    mask = torch.from_numpy(basis.rois[0].mask.copy()).expand(3, -1, -1).flatten()
    gain = float(response[0, mask].norm())
    record_property("gain", direction.gain / gain)
    assert direction.gain == pytest.approx(gain, rel=0.15)
    edited = {}
    for name, denoiser in (("float32", whole), (dtype, half)):
        told = EditRecipe(t=T, steps=4, dtype=name, directions=((direction.id, 6.0),), min_effect=0.0)
        edited[name] = edit(denoiser, image, told, basis.vectors)
    figure = psnr(edited[dtype].numpy(), edited["float32"].numpy(), 2.0)
    record_property("edit", figure)
    assert figure > 45
    probe = first_order(half, invert(half, image, T, 1), vector)
    straight = first_order(whole, invert(whole, image, T, 1), vector)
    assert float((probe - straight).norm() / straight.norm()) < 0.3


def test_check_passes_in_half_precision(saved):
    recipe = DiscoverRecipe(t=T, steps=5, tol=0.05, max_rounds=3, dtype="bfloat16")
    card, denoiser = open_folder(saved["unet2d"], dtype=torch.bfloat16)
    findings = check(denoiser, recipe, model=card.id)
    assert [one.name for one in findings if not one.holds] == []


def test_other_types_are_refused():
    with pytest.raises(InputError, match="dtype must be one of float32, float64, bfloat16, float16"):
        DiscoverRecipe(t=T, dtype="int8")
