"""Attribute readers: small networks that read named numbers from images, kept in one safetensors file each.

The file's metadata says everything else: the architecture, the size of the images, the names with their words, and
how well each was read on images that training never saw.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from loco.errors import ModelError
from loco.files import write_atomic
from loco.ids import content_id
from loco.outside import read
from loco.scorers.scorer import Scorer, resized

FILE_LIMIT = 64 << 20
"""Bytes of a reader's file: many times what one needs."""

SIDE, WIDTH, MOST = 512, 1024, 1000
"""Greatest size of the images, greatest width of a layer, most numbers."""


@dataclass(frozen=True)
class ReaderCard:
    """What a reader is.

    Attributes:
        kind: The architecture, one of `ARCHITECTURES`.
        size: Height and width of the images that it reads.
        widths: Channels at each resolution, finest first, then those of the hidden layer.
        names: The numbers that it gives, in order.
        words: What is said when each falls and when it rises.
        r2: The share of each number's variance that it explains on unseen images.
        training: How it was made, for people.
    """

    kind: str
    size: int
    widths: tuple[int, ...]
    names: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    r2: tuple[float, ...] = ()
    training: dict[str, int | float | str | list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no reader's; raises `ModelError`."""
        trouble = (
            f"its kind is {self.kind[:40]!r}, expected one of {', '.join(ARCHITECTURES)}"
            if self.kind not in ARCHITECTURES
            else f"its size is {self.size}, expected 8 to {SIDE}"
            if not 8 <= self.size <= SIDE
            else f"its widths are {self.widths!r:.80}, expected 2 to 8 of 1 to {WIDTH}"
            if not 2 <= len(self.widths) <= 8 or not all(1 <= width <= WIDTH for width in self.widths)
            else f"its size is {self.size}, which {len(self.widths) - 2} halvings do not divide"
            if self.size % (1 << max(0, len(self.widths) - 2))
            else f"it has {len(self.names)} names and {len(self.words)} pairs of words, expected as many of each, "
            f"different, and 1 to {MOST}"
            if not 1 <= len(set(self.names)) == len(self.names) == len(self.words) <= MOST
            else ""
        )
        if trouble:
            raise ModelError(trouble)


class Residual(nn.Module):
    """Residual blocks of 3 x 3 convolutions at halving resolutions."""

    def __init__(self, card: ReaderCard) -> None:
        super().__init__()
        *widths, hidden = card.widths
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for below, width in pairwise(widths):
            layers += [
                nn.BatchNorm2d(below),
                nn.SiLU(),
                nn.Conv2d(below, width, 3, stride=2, padding=1),
                _Block(width),
            ]
            if width != widths[-1]:
                layers.append(_Block(width))
        cells = (card.size >> (len(widths) - 1)) ** 2
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.SiLU(), nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * cells, hidden), nn.SiLU(), nn.Linear(hidden, len(card.names))
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, size, size] to [B, N]."""
        return self.head(self.body(images))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Plain(nn.Module):
    """Convolutions in a row that see where they are (two coordinate planes), with average pooling."""

    def __init__(self, card: ReaderCard) -> None:
        super().__init__()
        *widths, hidden = card.widths
        line = torch.linspace(-1, 1, card.size)
        self.register_buffer("place", torch.stack(torch.meshgrid(line, line, indexing="ij")))
        layers: list[nn.Module] = [nn.Conv2d(5, widths[0], 5, stride=2, padding=2), nn.GELU()]
        for below, width in pairwise(widths):
            for inputs in (below, width):
                layers += [
                    nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.GELU(),
                ]
            if width != widths[-1]:
                layers.append(nn.AvgPool2d(2))
        cells = (card.size >> (len(widths) - 1)) ** 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * cells, hidden), nn.GELU(), nn.Linear(hidden, len(card.names))
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, size, size] to [B, N]."""
        place: Any = self.place
        return self.head(self.body(torch.cat([images, place.expand(len(images), -1, -1, -1)], 1)))


ARCHITECTURES: dict[str, type[Residual | Plain]] = {"residual": Residual, "plain": Plain}


def read_reader(path: Path, source: str = "", device: str = "cpu") -> tuple[ReaderCard, Scorer]:
    """The reader in a file, in evaluation mode, with its card.

    Its numbers are fractions of each attribute's range, from the middle of it. Raises `ModelError` for a file that is
    missing, too large, no safetensors file, or no reader's.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"reader {path}: expected a .safetensors file")
    data = read(path, ModelError, FILE_LIMIT)
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        told = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get("card", "")
        card = _card(told)
        with torch.device("meta"):  # nothing is made of a card's sizes that the file does not hold
            network = ARCHITECTURES[card.kind](card)
        network.load_state_dict({name: _wide(value) for name, value in tensors.items()}, assign=True)
        if not all(bool(torch.isfinite(one).all()) for one in network.state_dict().values()):
            raise ModelError("its weights are not all finite")
    except (SafetensorError, ValueError, RecursionError, RuntimeError, ModelError) as error:
        raise ModelError(
            f"reader {path} is no attribute reader: {str(error)[:300]}; train one with `loco zoo reader`"
        ) from error
    network = network.eval().requires_grad_(False).to(device)

    def score(images: Tensor) -> Tensor:
        return network(resized(images, card.size, card.size))

    told_by = source or str(path)
    unit = "the attribute's range"
    return card, Scorer(
        content_id("reader", hashlib.sha256(data).hexdigest()),
        told_by,
        card.names,
        card.words,
        unit,
        score,
        card.r2,
    )


def _card(text: str) -> ReaderCard:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=200)
    kind = TypeAdapter(tuple[ReaderCard], config=config)
    try:
        (found,) = kind.validate_json(f"[{text or 'null'}]")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"][1:])) or "card"
        raise ModelError(f"its {where}: {first['msg']}") from error
    return found


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def write_reader(path: Path, network: nn.Module, card: ReaderCard) -> None:
    """Write the weights as float16 with their card; the file is there whole or not at all."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    write_atomic(path, save(tensors, {"card": json.dumps(asdict(card), sort_keys=True)}))
