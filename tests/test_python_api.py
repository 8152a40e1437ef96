"""What `import loco` and `import registry` give, and that `edit` is the paper's edit."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import loco
import registry
from loco.diffusion import sampling
from loco.direction import Direction
from loco.edit import change, combine, first_order, orthogonalise
from loco.errors import ImageError, InputError
from loco.finish import feather
from loco.images import read_image
from loco.recipes import SD
from tests.flows.helpers import picture, save
from tests.toys import factors, gaussian

SHAPE = (3, 4, 4)
T, STEPS = 0.6, 12
NAMES = ["DiscoverRecipe", "EditRecipe", "Roi", "discover", "edit", "invert", "open_images", "open_model"]


@pytest.fixture
def denoiser():
    return gaussian(factors(5, SHAPE) / 2, mean=factors(1, SHAPE, seed=1)[0] / 10, noise=0.05)


@pytest.fixture
def images():
    return factors(3, SHAPE, seed=2) / 2


def recipe(*strengths, **changes):
    directions = tuple((f"d{k}", strength) for k, strength in enumerate(strengths))
    return loco.EditRecipe(
        **({"t": T, "directions": directions, "steps": STEPS, "dtype": "float64"} | changes)
    )


def told(gain, area=0.25):
    return Direction("d", "b", 0, 0, "m", "i", "r", "R", area, T, 1, SHAPE, gain, 0.1, 0.9, 1.0, 0.0, True)


def alone(text):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_the_packages_load_nothing_before_it_is_asked_for():
    heavy = "{'torch', 'diffusers', 'sqlalchemy', 'duckdb', 'numpy'} & {*sys.modules}"
    found = alone(f"import sys, loco, registry; print({heavy}, sorted({{*loco.__all__}} - {{*dir(loco)}}))")
    assert found == "set() []\n"
    assert alone(f"import sys, loco; loco.DiscoverRecipe(t=0.5); print({heavy})") == "set()\n"
    assert sorted(loco.__all__) == NAMES


@pytest.mark.parametrize(
    "before",
    ["", "import loco.discover, loco.edit", "from loco.edit import change; from loco.discover import _solve"],
)
def test_discover_and_edit_are_the_functions_whatever_was_imported_before(before):
    text = f"{before}\nimport loco\nfrom loco import discover, edit\nfrom loco.edit import change\n"
    text += "print([callable(one) for one in (loco.discover, loco.edit, discover, edit, change)])"
    assert alone(text) == "[True, True, True, True, True]\n"


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(
        AttributeError, match=r"module 'loco' has no attribute 'invent'; it has DiscoverRecipe, "
    ):
        loco.invent  # noqa: B018


def test_an_edit_is_the_image_and_edited_minus_reconstruction(denoiser, images):
    """Exactly so where the model is linear; several directions add up."""
    vectors = torch.nn.functional.normalize(factors(2, SHAPE, seed=3).flatten(1), dim=1).view(2, *SHAPE)
    found = loco.edit(denoiser, images, recipe(3.0, -2.0, min_effect=0.0), vectors)
    x_t = sampling.invert(denoiser, images, T, STEPS)
    d = 3.0 * vectors[0] - 2.0 * vectors[1]
    moved, same = (sampling.sample(denoiser, x, T, STEPS) for x in (x_t + d, x_t))
    torch.testing.assert_close(found, images + moved - same, rtol=1e-8, atol=1e-10)
    by_array = loco.edit(denoiser, images, recipe(3.0, -2.0, min_effect=0.0), vectors.numpy())
    assert torch.equal(by_array, found)


def test_strength_0_gives_back_the_images_and_a_shared_path_is_inverted_once(denoiser, images):
    spent = []
    v = factors(1, SHAPE, seed=3)
    assert loco.edit(denoiser, images, recipe(0.0), v, progress=spent.append) is images
    assert spent == []
    path = loco.invert(denoiser, images, T, STEPS, spent.append)
    for strength in (1.0, -1.0):
        loco.edit(denoiser, images, recipe(strength), v, path=path, progress=spent.append)
    assert sum(spent) == 3 * (STEPS + 1 + 2 * STEPS)
    half = loco.invert(denoiser, images, T, STEPS, complete=False)
    both = [loco.edit(denoiser, images, recipe(1.0), v, path=one) for one in (path, half)]
    assert torch.equal(*both)


def test_sd_gives_each_image_the_predicted_change_and_none_where_nothing_responds(denoiser, images):
    v = torch.nn.functional.normalize(factors(1, SHAPE, seed=3).flatten(1), dim=1).view(1, *SHAPE)
    path = loco.invert(denoiser, images, T, STEPS)
    response = first_order(denoiser, path, v[0]).flatten(1).norm(dim=1)
    asked = recipe(0.1, unit="sd", preview=True)
    found = loco.edit(denoiser, images, asked, v, directions=[told(float(response[0]))]) - images
    wanted = torch.full((3,), 0.1 * SD * (0.25 * 48) ** 0.5, dtype=torch.float64)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), wanted)
    nothing = loco.edit(denoiser, images, asked, v, directions=[told(1000.0)])
    assert torch.equal(nothing, images)


def test_against_and_inside(denoiser, images):
    v, other = factors(2, SHAPE, seed=3)[:, None]
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    roi = loco.Roi("top", mask, "test")
    found = loco.edit(
        denoiser,
        images,
        recipe(2.0, against=("o",), confine="top"),
        v,
        against=other,
        inside=roi,
    )
    assert torch.equal(found[:, :, 2:], images[:, :, 2:])
    path = loco.invert(denoiser, images, T, STEPS)
    whole = change(denoiser, path, combine(orthogonalise(v, other)[0], [2.0]))
    torch.testing.assert_close(found - images, whole * torch.from_numpy(feather(mask)))


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, "2 vectors"),
        ({"unit": "sd"}, "directions, for unit = 'sd'"),
        ({"against": ("o",)}, "against, the vectors that the recipe names"),
        ({"confine": "top"}, "inside, the region that the recipe is confined to"),
    ],
)
def test_what_a_recipe_needs_and_is_not_given_is_named(denoiser, images, changes, needs):
    strengths = (1.0,) if changes else (1.0, 1.0)
    with pytest.raises(InputError, match=rf"edit: the recipe needs .*{needs}"):
        loco.edit(denoiser, images, recipe(*strengths, **changes), factors(1, SHAPE))


def test_a_path_of_another_grid_is_refused(denoiser, images):
    path = loco.invert(denoiser, images, T, STEPS + 1)
    with pytest.raises(InputError, match=r"expected the path of 3 images along Grid\(t=0.6, steps=12"):
        loco.edit(denoiser, images, recipe(1.0), factors(1, SHAPE), path=path)


def test_discovery_takes_a_path_or_its_end_and_needs_to_know_whose(denoiser, images):
    found = loco.DiscoverRecipe(t=T, steps=STEPS, rank=1, null_rank=1, dtype="float64", ranged=False)
    roi = loco.Roi("corner", np.eye(4, dtype=bool), "test")
    path = loco.invert(denoiser, images[:1], T, STEPS, complete=False)
    by_path = loco.discover(denoiser, path, [roi], found, model="m" * 64)
    by_end = loco.discover(denoiser, path.x_t[0], [roi], found, model="m" * 64)
    assert by_path.id == by_end.id
    assert np.array_equal(by_path.vectors, by_end.vectors)
    with pytest.raises(ValueError, match=r"the weights' hash of .* is not known; pass it as model="):
        loco.discover(denoiser, path, [roi], found)
    with pytest.raises(ValueError, match=r"expected the path of one image to t = 0.6, found 3"):
        loco.discover(denoiser, loco.invert(denoiser, images, T, STEPS), [roi], found, model="m" * 64)


def test_images_are_read_when_they_are_used_and_saved_as_they_were(tmp_path, denoiser):
    for number in range(3):
        save(tmp_path / "in" / "sub" / f"{number}.png", picture(number, 12, 16))
    images = loco.open_images(tmp_path / "in", denoiser)
    assert (len(images), [len(one) for one in images]) == (3, [1, 1, 1])
    (tmp_path / "in" / "sub" / "2.png").write_bytes(b"broken")  # nobody asks for it
    two = images[:2]
    assert two.pixels.shape == (2, 3, 4, 4)
    assert images[1].name == "sub/1.png"
    written = two.save(two.pixels, tmp_path / "out", "webp")
    assert written == [tmp_path / "out" / "sub" / f"{number}.webp" for number in range(2)]
    for number, path in enumerate(written):
        before = read_image(tmp_path / "in" / "sub" / f"{number}.png").pixels
        assert np.array_equal(read_image(path).pixels, before)
    with pytest.raises(ImageError):
        images[2].pixels  # noqa: B018
    with pytest.raises(ValueError, match="expected one image, found 3"):
        images.id  # noqa: B018
    assert loco.open_images(tmp_path / "in" / "sub" / "0.png", denoiser).id == images[0].id
    with pytest.raises(InputError, match="no images"):
        loco.open_images([], denoiser)


def test_a_registry_is_opened_by_its_folder_and_creates_nothing(tmp_path):
    found = registry.open(tmp_path / "home")
    assert found.find() == []
    assert not (tmp_path / "home").exists()
