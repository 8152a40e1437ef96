"""The whole way with a latent model that is told in words: images in, directions with their prompts, images out."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from flows.register import dataset_record, model_record
from registry.registry import Registry
from tests.families import build
from tests.flows.helpers import RECIPE, applied, counts, discovered, patch, picture, save


@pytest.fixture
def told(home, tmp_path):
    """A home with a small Stable Diffusion and two pictures of its size."""
    photos = tmp_path / "photos"
    for number in range(2):
        save(photos / f"{number}.png", picture(number, 16, 16))
        save(photos / "masks" / "patch" / f"{number}.png", patch(16, 16))
    registry = Registry(home)
    registry.add_model(model_record("tiny", str(build("stable_diffusion", tmp_path / "model"))))
    registry.add_dataset(dataset_record("photos", photos))
    return photos


@pytest.mark.parametrize("edit_prompt", ["", "a hat"])
def test_real_images_are_encoded_inverted_edited_and_decoded(home, told, tmp_path, edit_prompt):
    recipe = dataclasses.replace(RECIPE, prompt="a cat", guidance=2.0, edit_prompt=edit_prompt, ranged=False)
    run = discovered(home, rois=("patch",), recipe=recipe)
    assert (run.status, counts(run)) == ("done", (2, 2, 0, 0))
    registry = Registry(home)
    directions = registry.find()
    assert {(one.shape, one.prompt, one.edit_prompt) for one in directions} == {
        ((4, 8, 8), "a cat", edit_prompt)
    }
    assert registry.model("tiny").shape == (3, 16, 16)
    run = applied(home, tmp_path / "out", images=told, strengths=(0.0, 1.0))
    assert run.status == "done", run
    written = sorted((tmp_path / "out").glob("*.png"))
    assert len(written) == 4
    for path in written:
        before = np.asarray(Image.open(told / f"{path.name[0]}.png").convert("RGB"))
        after = np.asarray(Image.open(path).convert("RGB"))
        assert after.shape == before.shape
        assert np.array_equal(after, before) == ("+0" in path.name)
    assert registry.verify() == []
    again = discovered(home, rois=("patch",), recipe=recipe)
    assert counts(again) == (2, 0, 2, 0)


def test_a_prompt_for_a_model_that_takes_none_stops_at_once(home, registry):
    """It is the job that is wrong, not its images."""
    from loco.errors import InputError

    with pytest.raises(InputError, match="takes no prompt"):
        discovered(home, rois=("patch",), recipe=dataclasses.replace(RECIPE, prompt="a cat"))


def test_edits_are_told_what_the_directions_were_found_under(home, told):
    """Prompt, negative and guidance come from the basis; directions that differ in them need words of one's own."""
    from flows.apply.planning import plan_edits
    from flows.jobs import ApplyJob
    from loco.errors import InputError

    for prompt in ("a cat", "a hat"):
        recipe = dataclasses.replace(RECIPE, prompt=prompt, negative="red", guidance=2.0)
        discovered(home, rois=("patch",), recipe=recipe, limit=1)
    registry = Registry(home)
    one, other = registry.find()

    def words(*directions, **said):
        job = ApplyJob(
            directions=tuple((each.id, 1.0) for each in directions),
            strengths=(1.0,),
            out=told,
            images=told,
            **said,
        )
        [edit] = plan_edits(registry, job, 20)[0]
        return edit.recipe.prompt, edit.recipe.negative, edit.recipe.guidance

    assert words(one) == (one.prompt, "red", 2.0)
    assert words(one, other, prompt="a face") == ("a face", "", None)
    with pytest.raises(
        InputError, match=r"found under different words \('a cat' and 'a hat'\); say one with --prompt"
    ):
        words(one, other)
