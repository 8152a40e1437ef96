"""Textual inversion (Gal et al., arXiv 2208.01618): words of a model's own, as rows in its encoders' embeddings."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.pickled import read_tensors

_SIDES = {"clip_l": 0, "clip_g": 1, "t5": 2}
_NOT_TOKENS = (*_SIDES, "emb_params")


def read_embedding(file: Path, token: str | None) -> tuple[str, list[Tensor]]:
    """The word and its vectors, [n, width] for each width that the file has; raises `ModelError`.

    The file says the word itself, or its name does; `token` overrules both.
    """
    content = read_tensors(file, "embedding")
    said: str | None = None
    if isinstance(content.get("string_to_param"), dict):
        said = content["name"] if isinstance(content.get("name"), str) else None
        content = content["string_to_param"]
    tensors = {str(name): one for name, one in content.items() if isinstance(one, Tensor)}
    named = [name for name in tensors if name not in _NOT_TOKENS and name != "*"]
    if len(tensors) != len(content) or not tensors or len(tensors) > len(_SIDES) or len(named) > 1:
        raise ModelError(
            f"embedding {file}: expected the vectors of one word, found {', '.join(map(str, content))[:120] or 'none'}"
        )
    vectors = [one[None] if one.ndim == 1 else one for one in tensors.values()]
    if any(one.ndim != 2 or not 0 < len(one) <= 75 or not one.is_floating_point() for one in vectors):
        raise ModelError(
            f"embedding {file}: expected up to 75 vectors, found {[list(v.shape) for v in vectors]}"
        )
    word = token or (named[0] if named else said) or file.stem
    if not re.fullmatch(r"\S{1,100}", word):
        raise ModelError(f"embedding {file}: {word[:120]!r} is no word; name one: FILE:WORD")
    return word, vectors


def teach(file: Path, token: str | None, model: Any, tokenizer: Any) -> tuple[str, str] | None:
    """Add the word to the encoder and its tokenizer, in place; returns it with what stands for it in a prompt.

    None where the file has no vectors of this encoder's width. Raises `ModelError` for a word that it knows already.
    """
    word, vectors = read_embedding(file, token)
    table = model.get_input_embeddings()
    fitting = [one for one in vectors if one.shape[1] == table.weight.shape[1]]
    if not fitting:
        return None
    names = [word, *(f"{word}_{k}" for k in range(1, len(fitting[0])))]
    vocabulary = tokenizer.get_vocab()
    if any(name in vocabulary for name in names) or tokenizer.add_tokens(names) != len(names):
        raise ModelError(
            f"embedding {file}: the model knows the word {word!r} already; name another: FILE:WORD"
        )
    old = table.weight.data
    size = max(len(tokenizer), len(old))
    grown = old.new_zeros((size, old.shape[1]))
    grown[: len(old)] = old
    places = tokenizer.convert_tokens_to_ids(names)
    grown[torch.tensor(places)] = fitting[0].to(old)
    table.weight = torch.nn.Parameter(grown, requires_grad=False)
    table.num_embeddings = size
    return word, " ".join(names)
