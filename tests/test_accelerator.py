"""On a machine with a CUDA device, everything is what it is on a processor: ids the same, figures within rounding.

These run nowhere else: `pytest -m gpu`.
"""

import numpy as np
import pytest
import torch

from loco.discover import discover
from loco.edit import edit
from loco.inversion import invert
from loco.linalg.dense import subspace_error
from loco.models.diffusers_folder import open_folder
from loco.models.inference import for_inference
from loco.models.source import model_folder
from loco.recipes import DiscoverRecipe, EditRecipe
from loco.rois.roi import Roi
from loco.zoo.faces import faces

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

RECIPE = DiscoverRecipe(t=0.4)
ROIS = ("mouth", "eyes", "hair")
COUNT = 8


@pytest.fixture(scope="module")
def rendered():
    return faces(2**20, COUNT, 32)


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def found(request, rendered):
    """On each device: the inverted images, the first one's basis, and all images under its first direction."""
    place = request.param
    images = torch.from_numpy(rendered.images).permute(0, 3, 1, 2).float().to(place) / 127.5 - 1
    card, denoiser = open_folder(model_folder("zoo:faces32"), device=place)
    path = invert(denoiser, images, RECIPE.t, RECIPE.steps)
    regions = [Roi(name, rendered.masks[name][0], "renderer") for name in ROIS]
    basis = discover(denoiser, path[:1], regions, RECIPE, image_id="0" * 64)
    _, fast = open_folder(model_folder("zoo:faces32"), device=place)
    vector = torch.from_numpy(basis.vectors[:1].copy()).to(place)
    recipe = EditRecipe(t=RECIPE.t, directions=((basis.directions[0].id, 6.0),))
    edited = edit(for_inference(fast), images, recipe, vector)
    found = {"card": card, "x_t": path.x_t, "basis": basis, "edited": edited, "images": images}
    return found | {"place": place}


SEEN = {}


def test_ids_are_the_same_and_figures_agree(found):
    SEEN[found["place"]] = found
    if len(SEEN) < 2:
        return
    here, there = SEEN["cpu"], SEEN["cuda"]
    assert there["x_t"].is_cuda
    assert here["card"].id == there["card"].id
    assert here["basis"].id == there["basis"].id
    assert [one.id for one in here["basis"].directions] == [one.id for one in there["basis"].directions]
    assert torch.allclose(here["x_t"], there["x_t"].cpu(), atol=0.02)
    for one, other in zip(here["basis"].directions, there["basis"].directions, strict=True):
        assert one.converged
        assert other.converged
        assert other.singular_value == pytest.approx(one.singular_value, rel=0.02)
        assert other.gain == pytest.approx(one.gain, rel=0.05)
    for start in range(0, 9, 3):
        rows = [torch.from_numpy(one["basis"].vectors[start : start + 3]).flatten(1) for one in (here, there)]
        bases = [torch.linalg.qr(one.T.double())[0].T for one in rows]
        assert subspace_error(*bases) < 0.1
    difference = (here["edited"] - there["edited"].cpu()).square().mean(dim=(1, 2, 3))
    psnr = 10 * np.log10(4 / difference.numpy())
    assert psnr.min() > 40


def test_an_edit_of_no_strength_gives_the_images_back(found):
    recipe = EditRecipe(t=RECIPE.t, directions=((found["basis"].directions[0].id, 0.0),))
    vector = torch.from_numpy(found["basis"].vectors[:1].copy()).to(found["images"])
    _, denoiser = open_folder(model_folder("zoo:faces32"), device=found["place"])
    assert torch.equal(edit(denoiser, found["images"], recipe, vector), found["images"])
