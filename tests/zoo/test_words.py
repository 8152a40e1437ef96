"""Faces from words: captions say what is true, and a direction told in words changes what it names."""

import numpy as np
import pytest
import torch

from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.zoo.attributes import attribute_change
from loco.zoo.faces import ATTRIBUTES, attributes, faces, render, sample_attributes
from loco.zoo.words import PHRASES, START, captions, make_tokenizer, matches

COLUMN = {one.name: i for i, one in enumerate(ATTRIBUTES)}


def test_captions_say_only_what_is_true():
    rows = sample_attributes(np.random.default_rng(0), 200)
    said = captions(rows, np.random.default_rng(1), said=1.0, empty=0.0)
    for i, phrase in enumerate(PHRASES):
        true = matches(phrase, rows)
        assert 0 < true.sum() < 200
        assert [phrase.text in text for text in said] == list(true), PHRASES[i]
    assert all(text.startswith(START) for text in said)
    assert captions(rows, np.random.default_rng(1), empty=1.0) == [""] * 200


def test_every_word_is_one_token():
    tokenizer = make_tokenizer()
    for phrase in PHRASES:
        numbers = tokenizer(phrase.text)["input_ids"]
        assert len(numbers) == len(phrase.text.split()) + 1
        assert tokenizer.unk_token_id not in numbers
    assert tokenizer.unk_token_id in tokenizer("dragon")["input_ids"]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [("hair_lightness", 0.3, 0.5), ("skin_tone", 0.3, 0.2), ("mouth_curve", 0.1, 0.4)],
)
def test_a_change_made_by_the_renderer_is_read_back(name, start, end):
    before, after = attributes(**{name: start}), attributes(**{name: end})
    delta = (render(after, 32).astype(float) - render(before, 32))[0].transpose(2, 0, 1) / 127.5
    found = attribute_change(delta, before[0])
    one = ATTRIBUTES[COLUMN[name]]
    moved = (end - start) / (one.high - one.low)
    assert found.pop(name) == pytest.approx(moved, rel=0.4)
    assert max(abs(value) for value in found.values()) < 0.45 * abs(moved)


def test_a_direction_told_in_words_changes_what_it_names_most():
    """Blond and dark move the lightness of hair up and down, further than anything else; the model's card has more."""
    from benchmarks.words import changes, summary

    _, denoiser = open_folder(model_folder("zoo:faces32-words"))
    people = faces(900, 1, 32)
    for text, sign in (("blond hair", 1), ("dark hair", -1)):
        [phrase] = [one for one in PHRASES if one.text == text]
        figures = summary(phrase, changes(denoiser, phrase, people, steps=8))
        assert figures["faces_in_the_right_direction"] == 1
        assert sign * figures["change"] > 0.1
        assert abs(figures["largest_other"][1]) < abs(figures["change"])


def test_the_words_reach_the_network():
    _, denoiser = open_folder(model_folder("zoo:faces32-words"))
    x_t = torch.randn(1, *denoiser.shape, generator=torch.Generator().manual_seed(0))
    light, dark = (
        denoiser.told(f"{START} {hair} hair").posterior_mean(x_t, 0.6) for hair in ("blond", "dark")
    )
    assert float((light - dark).mean()) > 0.005
