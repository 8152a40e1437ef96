"""Training of attribute readers: it goes on where it was stopped, and reads what can be seen."""

from dataclasses import replace

import pytest
import torch

from loco.errors import InputError
from loco.scorers.opening import READERS
from loco.scorers.reader import read_reader
from loco.zoo.attributes import REGION, WORDS
from loco.zoo.faces import ATTRIBUTES, REGIONS
from loco.zoo.train_reader import BLOCK, ReaderRecipe, ReaderTrainer

TINY = ReaderRecipe("plain", (12, 24, 32), size=16, images=5000, batch=32, rate=3e-3, pool=2 * BLOCK, reuse=5)


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path):
    whole = ReaderTrainer(replace(TINY, images=640), tmp_path / "whole")
    list(whole.run())
    stopped = ReaderTrainer(replace(TINY, images=640), tmp_path / "stopped")
    stopped.network.train()
    for _ in range(7):
        stopped.step()
    stopped.save()
    resumed = ReaderTrainer(replace(TINY, images=640), tmp_path / "stopped")
    assert resumed.images == 7 * TINY.batch
    list(resumed.run())
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    with pytest.raises(InputError, match="holds a run of another recipe"):
        ReaderTrainer(replace(TINY, seed=1), tmp_path / "stopped")


def test_what_covers_much_of_the_image_is_read_after_a_few_thousand_faces(tmp_path):
    trainer = ReaderTrainer(TINY, tmp_path)
    list(trainer.run())
    card = trainer.export(tmp_path / "reader.safetensors")
    read = dict(zip(card.names, card.r2, strict=True))
    assert read["hair_lightness"] > 0.5
    assert read["glasses_size"] < 0.3  # most faces wear none
    assert read_reader(tmp_path / "reader.safetensors")[0] == card


def test_every_attribute_has_words_for_both_ways_and_a_region_that_there_is():
    assert list(WORDS) == [one.name for one in ATTRIBUTES] == list(REGION)
    said = [phrase for pair in WORDS.values() for phrase in pair]
    assert len(set(said)) == len(said)
    assert set(REGION.values()) - {""} <= set(REGIONS)
    assert REGION["teeth"] == REGION["lip_redness"] == "mouth"
    assert READERS.name == "readers"
