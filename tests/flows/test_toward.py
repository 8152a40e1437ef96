"""Directions toward a number of a scorer: through real files, over images, certified like any other."""

import numpy as np
import pytest
import torch

from flows.device.scorers import score_of
from flows.jobs import AcrossJob, DiscoverJob
from flows.start import run_here
from loco.errors import InputError, ModelError
from loco.recipes import DiscoverRecipe
from loco.scorers.opening import open_scorer
from loco.scorers.reader import ARCHITECTURES, ReaderCard, write_reader
from tests.flows.helpers import Words


@pytest.fixture
def reader(tmp_path):
    """A reader's file: its numbers are those of an untrained network."""
    torch.manual_seed(1)
    words = (("less one", "more one"), ("less two", "more two"))
    card = ReaderCard("plain", 12, (4, 8, 8), ("one", "two"), words)
    path = tmp_path / "reader.safetensors"
    write_reader(path, ARCHITECTURES["plain"](card).eval(), card)
    return path


def recipe(reader, name="one", **changes):
    toward = f"{open_scorer(str(reader)).id}#{name}"
    return DiscoverRecipe(
        **({"t": 0.5, "steps": 2, "rank": 1, "null_rank": 2, "tol": 0.05, "toward": toward} | changes)
    )


def found(registry, reader, name="one", **changes):
    job = AcrossJob("tiny", "photos", ("patch",), recipe(reader, name, **changes), scorer=str(reader))
    run = run_here(registry.home, None, job, Words())
    assert run.status == "done", run.counts
    [direction] = registry.find(where="method = 'toward'", sort="-found_at", limit=1)
    return direction


def test_the_direction_is_the_mean_pull_off_the_rest_and_raises_the_number_at_first_order(
    registry, reader, tiny
):
    from loco.inversion import invert
    from loco.linalg.jacobian import JacobianOperator
    from loco.opening import open_images, open_model
    from loco.toward import pulled_towards

    direction = found(registry, reader)
    assert (direction.scope, direction.images, direction.method) == ("dataset", 6, "toward")
    assert 0 < direction.retained <= 1
    assert direction.gain > 0
    assert direction.leakage is not None
    vector = torch.from_numpy(registry.vectors([direction])[0]).flatten()
    denoiser, score = open_model(tiny), open_scorer(str(reader)).one("one")
    images = open_images(registry.dataset("photos").path, denoiser)
    mask = torch.from_numpy(images[0].roi("patch").mask.copy()).expand(3, 8, 8).flatten()
    pulls, rises = [], []
    for x_t in invert(denoiser, images.pixels, 0.5, 2).x_t:

        def f(x):
            return denoiser.posterior_mean(x, 0.5)

        operator = JacobianOperator(f, x_t)
        [pull], _ = pulled_towards(operator, f, x_t[None], [mask], score)
        pulls.append(pull)
        step = 0.05 * (operator.mv(vector[None])[0] * mask).view(1, 3, 8, 8)
        mean = f(x_t[None]).detach()
        rises.append(float(score(mean + step) - score(mean - step)))
    assert sum(rises) > 0
    mean_pull = torch.nn.functional.normalize(torch.stack(pulls).mean(0), dim=0)
    assert float(mean_pull @ vector) == pytest.approx(direction.retained, abs=0.02)


def test_the_other_number_has_another_direction_another_id_and_a_label_of_its_own(registry, reader):
    one, two = found(registry, reader, "one"), found(registry, reader, "two")
    assert one.id != two.id
    vectors = registry.vectors([one, two]).reshape(2, -1)
    assert abs(float(vectors[0] @ vectors[1])) < 0.9
    assert registry.labels() == {one.id: ["toward one"], two.id: ["toward two"]}
    assert {event.author_kind for event in registry.history()} == {"scorer"}
    again = found(registry, reader, "two")
    assert np.array_equal(registry.vectors([again]), registry.vectors([two]))
    assert len(registry.history()) == 2


def test_a_scorer_that_changed_since_the_run_was_begun_fails_the_run_and_says_so(registry, reader, tmp_path):
    asked = recipe(reader)
    card = ReaderCard("plain", 12, (4, 8, 8), ("one",), (("less", "more"),))
    write_reader(reader, ARCHITECTURES["plain"](card).eval(), card)
    with pytest.raises(ModelError, match="and the run is toward a number of"):
        score_of(str(reader), (), asked.toward, "cpu")


def test_what_cannot_be_asked_is_refused_before_anything_runs(reader, loco, registry):
    asked = recipe(reader)
    with pytest.raises(InputError, match="toward is of all images together"):
        DiscoverJob("tiny", "photos", ("patch",), asked)
    with pytest.raises(InputError, match="needs its scorer"):
        AcrossJob("tiny", "photos", ("patch",), asked)
    with pytest.raises(InputError, match="toward must be a scorer's id and the name"):
        DiscoverRecipe(t=0.5, toward="smile")
    with pytest.raises(InputError, match="rows = 'pixels'"):
        recipe(reader, rows="cells")
    words = ("discover", "--model", "tiny", "--dataset", "photos", "--roi", "patch", "--t", 0.5, "--dry-run")
    assert "it has: one, two" in loco(*words, "--toward", f"{reader}#three", code=2).err
    assert "expected SCORER#NAME" in loco(*words, "--toward", reader, code=2).err
    assert "--prompts are for --toward" in loco(*words, "--prompts", "a=b|c", code=2).err
    assert "images" in loco(*words, "--toward", f"{reader}#ONE").out


def test_recipes_without_toward_keep_their_ids():
    from loco.ids import canonical

    assert "toward" not in canonical(DiscoverRecipe(t=0.5))
