"""Training: a run that was cut is the run that was not, and what is exported is what was averaged."""

import json
from dataclasses import replace

import pytest
import torch

from loco.errors import InputError
from loco.models.diffusers_folder import open_folder
from loco.zoo.subject import Subject
from loco.zoo.train import (
    BLOCK,
    ScenePool,
    Trainer,
    TrainRecipe,
    build_train_recipe,
    explained_variance,
    make_scheduler,
    saved_recipe,
    training_facts,
)

TINY = TrainRecipe(size=16, channels=(8, 16), images=32, batch=4, pool=BLOCK, decay=0.5)


@pytest.fixture(scope="module", autouse=True)
def _rendered_once():
    """The same faces are asked for again and again; rendering them takes longer than the training."""
    known, render = {}, Subject.render

    def cached(self, attributes, size):
        key = self.name, attributes.tobytes(), size
        if key not in known:
            known[key] = render(self, attributes, size)
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "render", cached)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    told = []
    trainer = Trainer(TINY, folder)
    lines = list(trainer.run(checkpoint_seconds=1e9, progress=told.append))
    assert told == [4] * 8
    return trainer, lines


def _same(first, second):
    assert first.images == second.images
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
    assert torch.equal(first.pool.images, second.pool.images)
    for one, other in zip(first.weights + first.average, second.weights + second.average, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_run_resumed_after_a_cut_equals_the_uninterrupted_one_bit_for_bit(finished, tmp_path, cuts):
    for _ in range(cuts):
        run = Trainer(TINY, tmp_path).run(checkpoint_seconds=0)
        for _ in range(2):
            next(run)
        run.close()
    resumed = Trainer(TINY, tmp_path)
    assert resumed.images == 8 * cuts
    list(resumed.run(checkpoint_seconds=1e9))
    _same(resumed, finished[0])


def test_steps_after_the_last_checkpoint_are_done_again(finished, tmp_path):
    trainer = Trainer(TINY, tmp_path)
    trainer.network.train().to(memory_format=torch.channels_last)
    trainer.step()
    trainer.save()
    trainer.step()  # lost, as by a kill
    resumed = Trainer(TINY, tmp_path)
    assert resumed.images == 4
    list(resumed.run())
    _same(resumed, finished[0])


def test_a_file_left_by_a_kill_while_writing_is_ignored(finished, tmp_path):
    trainer = Trainer(TINY, tmp_path)
    trainer.step()
    trainer.save()
    left = tmp_path / f".{'a' * 32}.partial"
    left.write_bytes(b"PK\x03\x04 half of it")
    resumed = Trainer(TINY, tmp_path)
    assert resumed.images == 4
    resumed.save()
    assert not left.exists()


def test_a_kill_while_writing_leaves_the_old_state(tmp_path, monkeypatch):
    trainer = Trainer(TINY, tmp_path)
    trainer.step()
    trainer.save()

    def die(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    trainer.step()
    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        trainer.save()
    assert Trainer(TINY, tmp_path).images == 4


def test_the_pool_is_rebuilt_as_it_was():
    recipe = replace(TINY, size=8, pool=2 * BLOCK)
    pool = ScenePool(recipe)
    for _ in range(3):
        pool.refresh()
    again = ScenePool(recipe, pool.blocks)
    assert again.blocks == pool.blocks == 5
    ahead = ScenePool(recipe, pool.blocks, workers=2)
    assert torch.equal(ahead.images, pool.images)
    ahead.close()
    assert torch.equal(again.images, pool.images)


def test_training_lowers_the_loss_and_moves_the_average(finished):
    trainer, [line] = finished
    fresh = Trainer(TINY, trainer.folder / "nowhere")
    assert line["images"] == 32
    assert line["loss"] < 1.2
    assert all(not torch.equal(a, b) for a, b in zip(trainer.weights, fresh.weights, strict=True) if a.any())
    assert any(not torch.equal(a, b) for a, b in zip(trainer.weights, trainer.average, strict=True))
    assert not fresh.folder.exists()


def test_an_export_opens_and_is_the_averaged_network_in_half_precision(finished, tmp_path):
    trainer, _ = finished
    trainer.export(tmp_path / "model")
    card, denoiser = open_folder(tmp_path / "model")
    assert card.shape == (3, 16, 16)
    assert card.prediction_type == "v_prediction"
    assert torch.equal(denoiser.schedule.alpha_bar, make_scheduler().alphas_cumprod.double())
    for read, average in zip(denoiser.network.parameters(), trainer.average, strict=True):
        assert torch.equal(read, average.half().float())
    x = torch.randn(2, 3, 16, 16)
    a = denoiser.schedule.at(0.5)
    with torch.no_grad():
        v = trainer.averaged()(x, denoiser.schedule.step(0.5)).sample
    expected = a**0.5 * x - (1 - a) ** 0.5 * v
    with torch.no_grad():
        torch.testing.assert_close(denoiser.posterior_mean(x, 0.5), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("change", [{"size": 32}, {"channels": (8, 32)}, {"seed": 1}, {"subject": "houses"}])
def test_a_folder_of_another_run_is_refused(finished, change):
    folder = finished[0].folder
    with pytest.raises(InputError, match=r"holds a run of .*, not .*: choose another folder"):
        Trainer(replace(TINY, **change), folder)
    assert Trainer(replace(TINY, images=64, batch=8), folder).images == 32  # another plan is fine


def test_facts_of_a_run(finished):
    trainer, lines = finished
    facts = training_facts(trainer.folder)
    assert saved_recipe(trainer.folder) == TINY
    assert facts["recipe"]["channels"] == [8, 16]
    assert (facts["images"], facts["steps"], facts["device"], facts["curve"]) == (32, 8, "cpu", lines)
    assert json.loads(json.dumps(facts)) == facts
    # Runs from before the device was noted.
    state = torch.load(trainer.folder / "state.pt", weights_only=True)
    del state["device"]
    old = trainer.folder / "old"
    old.mkdir()
    torch.save(state, old / "state.pt")
    assert training_facts(old)["device"] is None
    assert Trainer(TINY, old).images == 32


def test_a_folder_without_a_run_is_named(tmp_path):
    assert saved_recipe(tmp_path) is None
    with pytest.raises(InputError, match="train first"):
        training_facts(tmp_path)


def test_the_recipe_of_the_embedded_model_is_accepted_and_keeps_its_network():
    recipe = build_train_recipe({"channels": [24, 48, 96, 192]})
    assert recipe == TrainRecipe()
    assert recipe.head == 32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 1}, "unknown name 'colour'; known are size, channels"),
        ({"size": 0}, "size must be a whole number of at least 1, found 0"),
        ({"size": 20}, "size must be a multiple of 8 for 4 resolutions, found 20"),
        ({"batch": 1.5}, "batch must be a whole number"),
        ({"channels": 24}, "channels must be a list"),
        ({"channels": []}, "channels must be multiples of 4"),
        ({"channels": [6]}, "channels must be multiples of 4"),
        ({"channels": [24, 36]}, "channels must be multiples of 4"),
        ({"channels": ["a"]}, "channels"),
        ({"pool": 500}, "pool must be a multiple of 512"),
        ({"decay": 0}, r"decay must lie in \(0, 1\], found 0"),
        ({"rate": "fast"}, "rate must lie"),
        ({"subject": "cats"}, "subject must be one of faces, houses, found 'cats'"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_a_bad_recipe_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        build_train_recipe(values)


def test_explained_variance_of_an_oracle_is_one_and_of_the_mean_is_zero():
    x0 = torch.randn(6, 3, 4, 4)
    alpha_bar = make_scheduler().alphas_cumprod

    class Answers(torch.nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x_t, step):
            a = alpha_bar[step]
            out = type("Out", (), {})()
            out.sample = (a.sqrt() * x_t - self.answer) / (1 - a).sqrt()
            return out

    [exact] = explained_variance(Answers(x0), alpha_bar, x0, (500,))
    [mean] = explained_variance(Answers(x0.mean(0)), alpha_bar, x0, (500,))
    assert exact == pytest.approx(1, abs=1e-5)
    assert mean == pytest.approx(0, abs=1e-5)
