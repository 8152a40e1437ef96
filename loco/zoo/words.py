"""Words for rendered faces: which attribute each phrase names, captions of attribute rows, and their tokenizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loco.zoo.faces import ATTRIBUTES

LENGTH = 24
"""Tokens of a caption, padding included."""


@dataclass(frozen=True)
class Phrase:
    """What is said of a face whose `attribute` lies in the upper (or lower) third of its range."""

    text: str
    attribute: str
    high: bool


PHRASES = (
    Phrase("smiling", "mouth_curve", True),
    Phrase("frowning", "mouth_curve", False),
    Phrase("open mouth", "mouth_openness", True),
    Phrase("closed mouth", "mouth_openness", False),
    Phrase("blond hair", "hair_lightness", True),
    Phrase("dark hair", "hair_lightness", False),
    Phrase("long hair", "hair_length", True),
    Phrase("short hair", "hair_length", False),
    Phrase("dark skin", "skin_tone", True),
    Phrase("pale skin", "skin_tone", False),
    Phrase("open eyes", "eye_openness", True),
    Phrase("closed eyes", "eye_openness", False),
    Phrase("glasses", "glasses", True),
)
START = "a face"

_COLUMN = {one.name: i for i, one in enumerate(ATTRIBUTES)}


def matches(phrase: Phrase, rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each attribute row [B, A] lies in the third of the range that the phrase names, bool [B]."""
    attribute = ATTRIBUTES[_COLUMN[phrase.attribute]]
    unit = (rows[:, _COLUMN[phrase.attribute]] - attribute.low) / (attribute.high - attribute.low)
    return unit > 2 / 3 if phrase.high else unit < 1 / 3


def captions(
    rows: NDArray[np.float32], rng: np.random.Generator, *, said: float = 0.5, empty: float = 0.1
) -> list[str]:
    """A caption for each attribute row [B, A]: each phrase that is true is said with probability `said`, in any order.

    A caption is empty with probability `empty`: what guidance is measured against.
    """
    true = np.stack([matches(phrase, rows) for phrase in PHRASES], axis=1)
    true &= rng.random(true.shape) < said
    found = []
    for row in true:
        chosen = [PHRASES[i].text for i in rng.permutation(np.flatnonzero(row))]
        found.append("" if rng.random() < empty else " ".join([START, *chosen]))
    return found


def make_tokenizer() -> Any:
    """The tokenizer of captions, in the format of T5: one token a word."""
    from transformers import T5Tokenizer

    words = sorted({word for text in (START, *(one.text for one in PHRASES)) for word in text.split()})
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), *((f"▁{word}", -1.0) for word in words)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=LENGTH)
