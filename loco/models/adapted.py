"""A model with adapters, or of another size, as a folder: `adapted.json` names its base and what is other. No torch.

Base and files stay where they are; what is added to the weights is added whenever the model is opened. The id is made
of the base's, of the files' bytes, of scales and words, and of the size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loco.errors import InputError, ModelError
from loco.ids import content_id
from loco.models.hashes import hash_of
from loco.models.layout import read_json
from loco.ranges import RANGES

NAME = "adapted.json"


@dataclass(frozen=True)
class Lora:
    """One adapter: its file, and how much of it is added."""

    file: Path
    scale: float = 1.0


@dataclass(frozen=True)
class Embedding:
    """One word: its file, and what it is called; None for what the file says."""

    file: Path
    word: str | None = None


@dataclass(frozen=True)
class Adapters:
    """What is added to a base model, or other than there.

    Attributes:
        base: Its source: a folder, `hub:OWNER/NAME` or `zoo:NAME`.
        loras: Added to the weights, in this order.
        embeddings: Words of its own.
        size: Height and width of its images; None for the base's.
    """

    base: str
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    size: tuple[int, int] | None = None

    def identity(self, base_id: str, *, hashed: bool = True) -> str:
        """The id of the model, from its base's; empty where that is."""
        if not hashed:
            return ""
        made_of = [
            *(base_id, [[hash_of(one.file), float(one.scale)] for one in self.loras]),
            [[hash_of(one.file), one.word] for one in self.embeddings],
            *([] if self.size is None else [list(self.size)]),
        ]
        return content_id("model", ["adapted", *made_of])

    def says(self) -> str:
        """In words."""
        return ", ".join(
            [
                self.base,
                *(f"{one.file.name} x {one.scale:g}" for one in self.loras),
                *(f"{one.file.name} ({one.word or 'its own word'})" for one in self.embeddings),
                *([] if self.size is None else [f"at {self.size[0]} x {self.size[1]}"]),
            ]
        )


def described(adapters: Adapters) -> dict[str, Any]:
    """What the file of such a model says, as plain data; files are named in full."""
    return {
        "base": adapters.base,
        "lora": [{"file": str(one.file), "scale": one.scale} for one in adapters.loras],
        "embeddings": [{"file": str(one.file), "word": one.word} for one in adapters.embeddings],
    } | ({} if adapters.size is None else {"size": list(adapters.size)})


def read_adapted(folder: Path) -> Adapters | None:
    """What a folder says of adapters, or None where it is no such folder; raises `ModelError` where it is broken."""
    if not (folder / NAME).is_file():
        return None
    data = read_json(folder / NAME, folder, "a base and its adapters")
    try:
        found = Adapters(
            base=_text(data["base"]),
            loras=tuple(Lora(_file(one["file"]), float(one["scale"])) for one in data["lora"]),
            embeddings=tuple(Embedding(_file(one["file"]), one["word"]) for one in data["embeddings"]),
            size=_size(data.get("size")),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(
            f"model file {folder / NAME}: expected a base, and adapters with their scales: {error}"
        ) from error
    for file in (*(one.file for one in found.loras), *(one.file for one in found.embeddings)):
        if not file.is_file():
            raise ModelError(
                f"model folder {folder}: its adapter {file} is not there; put it back, or add the model again"
            )
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"base must be text, found {value!r:.80}")
    return value


def _file(value: Any) -> Path:
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise TypeError(f"an adapter must be named in full, found {value!r:.80}")
    return Path(value)


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(type(one) is not int or one < 1 for one in value)
    ):
        raise TypeError(f"size must be height and width, found {value!r:.80}")
    return value[0], value[1]


def parse_size(text: str) -> tuple[int, int]:
    """Read `N` or `HEIGHTxWIDTH`, in pixels; raises `InputError`."""
    parts = text.lower().split("x")
    sides = [int(one) for one in parts if one.isascii() and one.isdigit() and len(one) < 6]
    if (
        len(sides) != len(parts)
        or len(sides) > 2
        or not all(RANGES["sample_size"].holds(one) for one in sides)
    ):
        raise InputError(
            f"size: expected pixels such as 256, or 256x384 for height and width, found {text[:40]!r}"
        )
    return sides[0], sides[-1]


def parse_lora(text: str) -> Lora:
    """Read `FILE[:SCALE]`; raises `InputError` for a scale that is none."""
    name, scale = _split(text)
    if scale is None:
        return Lora(_there(name))
    try:
        number = float(scale)
    except ValueError:
        return Lora(_there(text))  # a colon in the file's name
    if not -100 <= number <= 100:
        raise InputError(f"lora {name}: expected a scale from -100 to 100, found {scale!r}")
    return Lora(_there(name), number)


def parse_embedding(text: str) -> Embedding:
    """Read `FILE[:WORD]`."""
    name, word = _split(text)
    if word is None or Path(text).expanduser().exists():
        return Embedding(_there(text))
    return Embedding(_there(name), word)


def _split(text: str) -> tuple[str, str | None]:
    name, colon, rest = text.rpartition(":")
    return (name, rest) if colon and name and rest else (text, None)


def _there(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"adapter {path}: no such file")
    return path
