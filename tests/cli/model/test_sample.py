"""`loco model sample`: a seed and words give an image, and always the same."""

import numpy as np
import pytest
from PIL import Image

from tests.families import build


@pytest.fixture(params=["stable_diffusion", "unet2d-v-cosine", "sd3"])
def model(request, loco, tmp_path):
    loco("model", "add", "mine", build(request.param, tmp_path / "model"))
    return request.param


def test_a_seed_gives_an_image_and_always_the_same(loco, model, tmp_path):
    words = [] if model.startswith("unet2d") else ["--prompt", "a cat", "--guidance", 2]
    options = ("--count", 2, "--steps", 3, *words)
    lines = loco("model", "sample", "mine", tmp_path / "a", *options).out.splitlines()
    assert lines == [f"image  {tmp_path / 'a' / name}" for name in ("00000.png", "00001.png")]
    loco("model", "sample", "mine", tmp_path / "b", *options, "--seed", 1)
    first, second = (np.asarray(Image.open(tmp_path / "a" / name)) for name in ("00000.png", "00001.png"))
    assert first.shape == ((8, 8, 3) if model.startswith("unet2d") else (16, 16, 3))
    assert not np.array_equal(first, second)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b" / "00001.png")), second)


def test_what_is_drawn_can_be_a_dataset(loco, registry, tmp_path):
    loco("model", "add", "mine", build("unet2d-v-cosine", tmp_path / "model"))
    loco("model", "sample", "mine", tmp_path / "drawn", "--count", 3, "--steps", 2)
    loco("dataset", "add", "drawn", tmp_path / "drawn")
    assert len(registry.dataset("drawn").images) == 3
