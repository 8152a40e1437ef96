"""The benchmark of discovery: what it counts is what was spent, and what it compares with is dense algebra."""

from dataclasses import replace

import torch

from loco.measure.bench import bench_discover
from loco.recipes import DiscoverRecipe
from tests.toys import box, factors, gaussian

SHAPE = (3, 6, 6)


class Repeated:
    """A codec whose images are twice the latents at twice the size."""

    image_shape = (3, 12, 12)

    def encode(self, images):
        return images[:, :, ::2, ::2] / 2

    def decode(self, x0):
        return 2 * x0.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_latent_models_regions_are_rows_of_its_images():
    denoiser = gaussian(factors(20, SHAPE) * 1.4 ** -torch.arange(20)[:, None, None, None])
    denoiser.codec = Repeated()
    rois = [box("eyes", Repeated.image_shape, 0, 4, 2, 10)]
    recipe = replace(DiscoverRecipe(t=0.6), rank=2, null_rank=3, dtype="float64")
    told = bench_discover(denoiser, factors(1, SHAPE, seed=8)[0], rois, recipe, lambda text: None)
    assert told["subspace_error"] <= 0.01


def test_costs_and_errors_on_a_gaussian():
    strengths = 1.4 ** -factors(1, (1, 1, 1)).new_tensor(range(20))[:, None, None, None]
    denoiser = gaussian(factors(20, SHAPE) * strengths)
    rois = [box("eyes", SHAPE, 0, 2, 1, 5), box("mouth", SHAPE, 4, 6, 2, 5)]
    recipe = replace(DiscoverRecipe(t=0.6), rank=2, null_rank=3, dtype="float64")
    said = []
    told = bench_discover(denoiser, factors(1, SHAPE, seed=8)[0], rois, recipe, said.append)
    assert told["power"]["products"] == 50 * 2 * 2 * (2 + 3)
    assert told["products_ratio"] == round(told["power"]["products"] / told["krylov"]["products"], 2)
    assert told["products_ratio"] > 5
    assert told["subspace_error"] <= 0.01
    assert told["rois"] == ["eyes", "mouth"]
    assert set(told["alone"]) == {"eyes", "mouth"}
    assert told["krylov"]["network_seconds"] <= told["krylov"]["seconds"]
    assert len(said) == 4
