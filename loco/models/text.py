"""Text encoders (CLIP, T5 and others, by transformers), and tokenizers: from a prompt to what a network is told.

transformers is an optional extra, imported when a model is opened that needs it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.card import ModelCard
from loco.models.layout import read_json
from loco.models.network import FAULTS, load_with

_ENCODERS = (
    *("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "Gemma2Model"),
    *("UMT5EncoderModel", "MT5EncoderModel", "BertModel", "ChatGLMModel"),
    *("Qwen2_5_VLForConditionalGeneration", "Qwen3ForCausalLM"),
)
_WHOLE = ("T5ForConditionalGeneration", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration")
"""Models of which the encoder is a part, as which configurations may still name it: the pipeline says which part."""
_TOKENIZERS = (
    *("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast"),
    *("GemmaTokenizer", "GemmaTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast"),
    *("BertTokenizer", "BertTokenizerFast", "ChatGLMTokenizer"),
    *("Qwen2Tokenizer", "Qwen2TokenizerFast"),
)

_VOCABULARIES = (
    *(("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",)),
    ("vocab.txt",),
)
"""Files that a tokenizer's words may stand in."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder with its tokenizer.

    Attributes:
        model: The network.
        tokenizer: Its tokenizer.
        device: Where the network is.
        words: Words of the model's own, and what stands for each in a prompt.
        told: Type of what the network is told, where that is another.
    """

    model: Any
    tokenizer: Any
    device: str
    words: tuple[tuple[str, str], ...] = ()
    told: torch.dtype | None = None

    def __call__(
        self, prompt: str, length: int | None = None, *, masked: bool = False, padded: bool = True
    ) -> Any:
        """The encoder's outputs, hidden states included, for one prompt cut off at or padded to `length` tokens."""
        tokens = self._tokens(prompt, length, padded)
        told = {"attention_mask": tokens["attention_mask"] if masked else None}
        if "position_ids" in tokens:  # ChatGLM's, which count from the first word and not from the padding
            told["position_ids"] = tokens["position_ids"]
        with torch.no_grad():
            return self._told(self.model(tokens["input_ids"], **told, output_hidden_states=True))

    def mask(self, prompt: str, length: int | None = None) -> Tensor:
        """1 for each token of the prompt, 0 for padding: [1, tokens]."""
        found: Tensor = self._tokens(prompt, length)["attention_mask"]
        return found

    def _tokens(self, prompt: str, length: int | None, padded: bool = True) -> Any:
        known = int(self.tokenizer.model_max_length)
        # A tokenizer that knows no limit says so with a number beyond all reason.
        length = min(known, 77) if length is None else length
        for word, spelt in self.words:
            prompt = prompt.replace(word, spelt)
        padding = "max_length" if padded else False
        return self.tokenizer(
            prompt, padding=padding, max_length=length, truncation=True, return_tensors="pt"
        ).to(self.device)

    def _told(self, outputs: Any) -> Any:
        """The outputs in the type that the network is told in."""
        if self.told is None:
            return outputs
        for name, value in list(outputs.items()):
            if torch.is_tensor(value):
                outputs[name] = value.to(self.told)
            elif isinstance(value, tuple):
                outputs[name] = tuple(one.to(self.told) for one in value)
        return outputs


def load_text_encoder(
    card: ModelCard, encoder: str, tokenizer: str, dtype: torch.dtype, device: str, side: str | None = None
) -> TextEncoder:
    """A text encoder and its tokenizer from their folders in the model folder.

    `side` is where the pipeline has the padding, whatever the tokenizer's own side is; None for its own.
    Raises `ModelError` where transformers is not installed, or the files are not what they should be.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            f"model folder {card.folder}: a model that is told in words needs transformers; install it with "
            f"`pip install 'loco-edit-service[text]'`"
        ) from error
    transformers.utils.logging.disable_progress_bar()
    # T5 overflows in float16. Words are told once, so that precision costs no time.
    wide = torch.float32 if dtype == torch.float16 else dtype
    settings = read_json(card.place(encoder) / "config.json", card.folder, "the text encoder's configuration")
    index = read_json(card.folder / "model_index.json", card.folder, "a diffusers pipeline")
    named = settings.get("architectures")
    kind = named[0] if isinstance(named, list) and named else None
    if kind in _WHOLE:
        kind = _named(index, encoder)
    kind = _class(card, kind, _ENCODERS, encoder)
    speller = _class(card, _named(index, tokenizer), _TOKENIZERS, tokenizer)
    model = load_with(_library(kind), card, encoder, device, wide, {"dtype": wide}, _tied)
    words = _load_tokenizer(card, tokenizer, speller)
    known = _setting(settings, "vocab_size") or settings.get("padded_vocab_size") or 0
    if len(words) > int(known):
        raise ModelError(
            f"model folder {card.folder}: {tokenizer} has {len(words)} words, {encoder} knows {known}; they are not "
            f"of one model"
        )
    if side is not None:
        words.padding_side = side
    return TextEncoder(model, words, device, _taught(card, model, words), dtype)


def _load_tokenizer(card: ModelCard, tokenizer: str, kind: str) -> Any:
    """A tokenizer with its vocabulary; raises `ModelError` for one that is none, or could not fill up a prompt."""
    place = card.folder / tokenizer
    if not any(all((place / name).is_file() for name in names) for names in _VOCABULARIES):
        # transformers would make up a vocabulary of nothing but marks.
        raise ModelError(
            f"model folder {card.folder}: expected {tokenizer} to have a vocabulary, one of "
            f"{', '.join(' with '.join(names) for names in _VOCABULARIES)}, found none; fetch the model again"
        )
    try:
        words = _library(kind).from_pretrained(str(place), local_files_only=True)
    except (*FAULTS, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"model folder {card.folder}: {tokenizer} cannot be loaded: {reason}") from error
    if words.pad_token is None:
        raise ModelError(
            f"model folder {card.folder}: expected {tokenizer} to have a token for padding (pad_token in "
            f"tokenizer_config.json), found none; fetch the model again"
        )
    return words


def _taught(card: ModelCard, model: Any, tokenizer: Any) -> tuple[tuple[str, str], ...]:
    """Teach the encoder the model's own words; raises `ModelError` where one fits no encoder of the model."""
    from loco.models.embeddings import read_embedding, teach

    own = () if card.adapters is None else card.adapters.embeddings
    widths = {_width_of(card, name) for name in card.weights if name.startswith("text_encoder")}
    for one in own:
        if not any(len(vector[0]) in widths for vector in read_embedding(one.file, one.word)[1]):
            raise ModelError(
                f"embedding {one.file}: its vectors fit no text encoder of model folder {card.folder}, which have "
                f"{', '.join(map(str, sorted(widths)))} numbers a word"
            )
    known = [teach(one.file, one.word, model, tokenizer) for one in own]
    return tuple(one for one in known if one is not None)


def _width_of(card: ModelCard, encoder: str) -> int:
    settings = read_json(card.place(encoder) / "config.json", card.folder, "the text encoder's configuration")
    return int(_setting(settings, "hidden_size") or settings.get("d_model") or 0)


def _setting(settings: dict[str, Any], key: str) -> Any:
    """A setting of an encoder's configuration, or of the part of it that is about text."""
    inner = settings.get("text_config")
    return inner[key] if isinstance(inner, dict) and key in inner else settings.get(key)


def _tied(missing: set[str]) -> set[str]:
    """Without what is no loss: copies of tied embeddings, numbers of positions of older files, BERT's unused pooler."""
    tied = ("encoder.embed_tokens.weight", "shared.weight")
    return {
        name
        for name in missing
        if name not in tied and not name.endswith("position_ids") and not name.startswith("pooler.dense.")
    }


def _library(kind: str) -> Any:
    """The class of that name: one of transformers, or of diffusers where transformers has none."""
    if kind.startswith("ChatGLM"):
        from diffusers.pipelines import kolors

        return getattr(kolors, kind)
    import transformers

    return getattr(transformers, kind)


def _named(index: dict[str, Any], part: str) -> Any:
    """The class that a pipeline has for one part, or None."""
    entry = index.get(part)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def _class(card: ModelCard, found: object, known: tuple[str, ...], what: str) -> str:
    if not isinstance(found, str) or found not in known:
        raise ModelError(
            f"model folder {card.folder}: expected {what} to be one of {', '.join(known)}, found {found!r}"
        )
    return found


def penultimate(outputs: Any) -> Tensor:
    """The hidden states before the last layer, [1, tokens, width]."""
    states: Tensor = outputs.hidden_states[-2]
    return states
