"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685) added into a network's weights when it is loaded.

    W' = W + scale (alpha / rank) up down

Files name the same weights in many ways. The names of the usual trainers are compared with the network's own, dots and
underscores alike; what remains is translated by diffusers' own tables. A weight that has no place is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.pickled import State, read_state

_LOADERS = {
    "stable_diffusion": "StableDiffusionLoraLoaderMixin",
    "kolors": "StableDiffusionLoraLoaderMixin",
    "lcm": "StableDiffusionLoraLoaderMixin",
    "sdxl": "StableDiffusionXLLoraLoaderMixin",
    "sd3": "SD3LoraLoaderMixin",
    "flux": "FluxLoraLoaderMixin",
    "chroma": "FluxLoraLoaderMixin",
    "auraflow": "AuraFlowLoraLoaderMixin",
    "sana": "SanaLoraLoaderMixin",
    "lumina2": "Lumina2LoraLoaderMixin",
    "flux2": "Flux2LoraLoaderMixin",
    "qwenimage": "QwenImageLoraLoaderMixin",
}
"""Family -> diffusers' class that knows how its adapters are named."""

_PLACES = (
    ("lora_unet_", ""),
    ("lora_transformer_", ""),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
    ("base_model.model.", ""),
    ("unet.", ""),
    ("transformer.", ""),
    ("diffusion_model.", ""),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder_3.", "text_encoder_3"),
    ("text_encoder.", "text_encoder"),
)
"""How a name begins -> the part that it is of; empty for the network."""

_DOWN = r"(?:lora_down|lora_A|lora\.down|lora_linear_layer\.down|_lora\.down|lora_A\.default)"
_UP = r"(?:lora_up|lora_B|lora\.up|lora_linear_layer\.up|_lora\.up|lora_B\.default)"
_KINDS = (
    ("down", re.compile(rf"(.+?)[._]?{_DOWN}\.weight")),
    ("up", re.compile(rf"(.+?)[._]?{_UP}\.weight")),
    ("alpha", re.compile(rf"(.+?)(?:[._]?{_DOWN}\.weight)?\.alpha")),
)
_SPELT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass
class Low:
    """One adapted weight, as the file has it."""

    down: Tensor | None = None
    up: Tensor | None = None
    alpha: float | None = None


def fuse(part: str, network: Any, file: Path, scale: float, family: str) -> int:
    """Add the adapter of `part` in `file` to the network's weights, in place; returns how many it changed.

    `part` is empty for the network itself. Raises `ModelError` for a file that is no such adapter of this model.
    """
    modules = {_flat(name): module for name, module in network.named_modules() if hasattr(module, "weight")}
    found = {name: low for (place, name), low in pairs(file).items() if place == part}
    if any(_place(name, modules) is None for name in found) and not part:
        found = {n: low for (place, n), low in _translated(file, network, family).items() if not place}
    for name, low in found.items():
        module = _place(name, modules)
        if module is None:
            raise ModelError(
                f"adapter {file}: it changes {name[:120]!r}, which {type(network).__name__} does not have; it is of "
                f"another kind of model, or of a kind of adapter that is not known"
            )
        _add(file, name, module.weight, low, scale)
    return len(found)


def parts_of(file: Path) -> set[str]:
    """The parts that an adapter changes, the network as the empty name; raises `ModelError` for another file."""
    return {place for place, _ in pairs(file)}


@torch.no_grad()
def _add(file: Path, name: str, weight: Tensor, low: Low, scale: float) -> None:
    if low.down is None or low.up is None or low.down.ndim < 2 or low.up.ndim < 2:
        raise ModelError(f"adapter {file}: {name[:120]!r} lacks one of its two factors; fetch the file again")
    down, up, rank = low.down.float().flatten(1), low.up.float().flatten(1), len(low.down)
    if up.shape[1] != rank or len(up) * down.shape[1] != weight.numel() or len(up) != len(weight):
        raise ModelError(
            f"adapter {file}: {name[:120]!r} has factors {list(low.up.shape)} and {list(low.down.shape)}, the model's "
            f"weight is {list(weight.shape)}; it is of another model"
        )
    change = scale * (rank if low.alpha is None else low.alpha) / rank * (up @ down)
    weight.data = (weight.float() + change.reshape(weight.shape).to(weight.device)).to(weight.dtype)


def _place(name: str, modules: dict[str, Any]) -> Any | None:
    flat = _flat(name)
    for one in (flat, flat.removeprefix("text_model_"), f"text_model_{flat}"):
        if one in modules:
            return modules[one]
    return None


def _flat(name: str) -> str:
    return name.replace(".", "_")


def pairs(file: Path) -> dict[tuple[str, str], Low]:
    """(Part, name of the weight) -> its factors, as the file names them."""
    stat = file.stat() if file.exists() else None
    return _pairs(file, None if stat is None else (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=8)
def _pairs(file: Path, _: object) -> dict[tuple[str, str], Low]:
    return _sorted(file, read_state(file, "adapter"))


def _sorted(file: Path, state: State) -> dict[tuple[str, str], Low]:
    found: dict[tuple[str, str], Low] = {}
    for key, tensor in state.items():
        kind, name = next(
            ((kind, match[1]) for kind, form in _KINDS if (match := form.fullmatch(key))), (None, "")
        )
        if kind is None:
            raise ModelError(
                f"adapter {file}: expected a LoRA, with factors up and down of each weight, found {key[:120]!r}"
            )
        place, name = _belongs(name)
        low = found.setdefault((place, name), Low())
        if kind == "alpha":
            low.alpha = float(tensor)
        elif kind == "down":
            low.down = tensor
        else:
            low.up = tensor
    if not found:
        raise ModelError(f"adapter {file}: expected a LoRA, found a file without tensors")
    return found


def _belongs(name: str) -> tuple[str, str]:
    """The part, and the name within it without what trainers put in between."""
    place = ""
    while True:
        start = next((one for one in _PLACES if name.startswith(one[0])), None)
        if start is None:
            break
        name, place = name.removeprefix(start[0]), start[1] or place
    name = name.replace(".processor.", ".")
    head, _, last = name.rpartition(".")
    if place.startswith("text_encoder") and last in _SPELT:
        name = f"{head}.{_SPELT[last]}"
    elif last == "to_out":
        name = f"{name}.0"
    return place, name


def _translated(file: Path, network: Any, family: str) -> dict[tuple[str, str], Low]:
    """The same in diffusers' names, by its own tables of how others name them; as it is where there are none."""
    import diffusers.loaders

    loader = getattr(diffusers.loaders, _LOADERS.get(family, ""), None)
    state = read_state(file, "adapter")
    if loader is None:
        return _sorted(file, state)
    own: dict[str, Callable[..., Any]] = {"unet_config": network.config} if family == "sdxl" else {}
    try:
        told = loader.lora_state_dict(dict(state), **own)
    except (ValueError, KeyError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"adapter {file}: its names are not those of a {family} model: {reason}") from error
    tensors, alphas = told if isinstance(told, tuple) else (told, None)
    alphas = {key: torch.tensor(float(value)) for key, value in (alphas or {}).items()}
    return _sorted(file, dict(tensors) | alphas)
