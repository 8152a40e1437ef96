"""Scorers of the `transformers` package (an extra): image classifiers, and CLIP told what to look for.

They are folders of safetensors and JSON, opened offline and without code of their own. A classifier's number is the
log-odds of its class; CLIP's is the log-odds of the first of two prompts over the second (Radford et al., arXiv
2103.00020), so that a difference of 1 means the same for both.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.errors import InputError, ModelError
from loco.ids import content_id, file_id
from loco.outside import printable, read_text
from loco.scorers.scorer import Scorer, resized

FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What is fetched of a scorer on the hub: configurations, vocabularies, weights that cannot run code."""

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = "log-odds"


@dataclass(frozen=True)
class Prompts:
    """A number that CLIP is to give: how much more an image is `positive` than `negative`."""

    name: str
    positive: str
    negative: str

    @classmethod
    def parse(cls, text: str) -> "Prompts":
        """Read `NAME=positive|negative`; raises `InputError`."""
        name, equals, pair = text.partition("=")
        parts = [part.strip() for part in pair.split("|")]
        if not (name.strip() and equals and len(parts) == 2 and all(parts)) or len(text) > 1000:
            raise InputError(
                f"prompts: expected NAME=positive|negative, such as smile=a smiling face|a sad face, "
                f"found {text[:120]!r}"
            )
        return cls(name.strip(), *parts)


def open_pretrained(
    folder: Path, prompts: Sequence[Prompts] = (), source: str = "", device: str = "cpu"
) -> Scorer:
    """The classifier, or CLIP with prompts, in a folder; raises `ModelError` for a folder that is neither.

    Raises `InputError` for prompts that a classifier cannot take, or CLIP does not get.
    """
    config = _json(folder / "config.json", needed=True)
    named = source or str(folder)
    architectures = config.get("architectures") or [""]
    dual = "projection_dim" in config or "text_config" in config
    classifier = not dual and str(architectures[0]).endswith("ForImageClassification")
    if not (dual or classifier):
        raise ModelError(
            f"scorer {named}: expected an image classifier or CLIP of transformers, found {architectures[0]!s:.80}"
        )
    if classifier and prompts:
        raise InputError(f"scorer {named} is a classifier with names of its own: leave out --prompts")
    if dual and not prompts:
        raise InputError(
            f"scorer {named} tells what it is asked for: add --prompts NAME=positive|negative, for each number one"
        )
    if len({one.name.lower() for one in prompts}) < len(prompts):
        raise InputError("prompts: the names must differ")
    model = _open(folder, named, dual=dual).to(device)
    see = _preparation(folder, config, _CLIP if dual else _IMAGENET)
    if dual:
        names = tuple(one.name for one in prompts)
        text = _texts(folder, named, model, prompts)
        score = _similar(model, see, text)
    else:
        table = config.get("id2label") or {}
        count = int(model.config.num_labels)
        names = _distinct([printable(str(table.get(str(k), f"class {k}")))[:80] for k in range(count)])
        score = _odds(model, see, several=config.get("problem_type") == "multi_label_classification")
    made_of = [_content(folder), [[one.name, one.positive, one.negative] for one in prompts]]
    words = tuple((f"less {name}", f"more {name}") for name in names)
    return Scorer(content_id("scorer", made_of), named, names, words, UNIT, score)


def _odds(model: Any, see: Any, *, several: bool) -> Any:
    def score(images: Tensor) -> Tensor:
        logits = model(pixel_values=see(images)).logits
        if several or logits.shape[1] == 1:
            return logits
        if logits.shape[1] == 2:
            return torch.stack([logits[:, 0] - logits[:, 1], logits[:, 1] - logits[:, 0]], 1)
        others = logits[:, None, :].expand(-1, logits.shape[1], -1)
        own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        return logits - others.masked_fill(own, -torch.inf).logsumexp(2)

    return score


def _similar(model: Any, see: Any, text: Tensor) -> Any:
    scale = model.logit_scale.detach().exp()
    apart = text[0::2] - text[1::2]

    def score(images: Tensor) -> Tensor:
        found = _vector(model.get_image_features(pixel_values=see(images)))
        return scale * torch.nn.functional.normalize(found, dim=1) @ apart.to(found).T

    return score


def _texts(folder: Path, named: str, model: Any, prompts: Sequence[Prompts]) -> Tensor:
    """Unit vectors of the positive and the negative prompt of each in turn, [2 N, D]."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"scorer {named}: its tokenizer cannot be opened: {_line(error)}") from error
    lines = [text for one in prompts for text in (one.positive, one.negative)]
    tokens = tokenizer(lines, padding=True, truncation=True, return_tensors="pt").to(model.device)
    wanted = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
    with torch.no_grad():
        return torch.nn.functional.normalize(_vector(model.get_text_features(**wanted)), dim=1)


def _vector(found: Any) -> Tensor:
    """The features [B, D], whether they come bare or in an output."""
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features


def _preparation(folder: Path, config: dict[str, Any], usual: Any) -> Any:
    """Images in [-1, 1] to what the network takes: the shorter side scaled, the middle cropped, normalised."""
    told = _json(folder / "preprocessor_config.json")
    vision = config.get("vision_config") or config
    side = vision.get("image_size") or _side(told.get("crop_size")) or _side(told.get("size")) or 224
    try:
        side = int(side[0] if isinstance(side, list) else side)
        mean, std = (
            torch.tensor([float(one) for one in told.get(name) or default]).view(1, -1, 1, 1)
            for name, default in zip(("image_mean", "image_std"), usual, strict=True)
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: its preprocessor_config.json says no size, mean or std: {error}"
        ) from error
    if not 8 <= side <= 4096 or mean.numel() != 3 or std.numel() != 3 or not bool((std > 0).all()):
        raise ModelError(
            f"{folder}: expected images of 8 to 4096 pixels and 3 colours, found {side} and {std.numel()}"
        )

    def see(images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        scale = side / min(height, width)
        found = resized(images, round(height * scale), round(width * scale))
        top, left = (found.shape[2] - side) // 2, (found.shape[3] - side) // 2
        found = found[:, :, top : top + side, left : left + side]
        return ((found + 1) / 2 - mean.to(found)) / std.to(found)

    return see


def _side(size: Any) -> Any:
    if isinstance(size, dict):
        return size.get("height") or size.get("shortest_edge")
    return size


def _open(folder: Path, named: str, *, dual: bool) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "scorers of transformers need the package: pip install 'loco-edit-service[segment]'"
        ) from error
    opener = transformers.AutoModel if dual else transformers.AutoModelForImageClassification
    try:
        model = opener.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"scorer {named}: cannot be opened: {_line(error)}") from error
    if dual and not all(hasattr(model, one) for one in ("get_image_features", "logit_scale")):
        raise ModelError(
            f"scorer {named}: expected CLIP, which compares images with texts, found {type(model).__name__}"
        )
    return model.float().eval().requires_grad_(False)


def _content(folder: Path) -> str:
    """Hash of all files of the folder that a scorer is made of."""
    paths = sorted(path for kind in FETCHED for path in folder.glob(kind))
    text = json.dumps([[path.name, file_id(path)] for path in paths])
    return hashlib.sha256(text.encode()).hexdigest()


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Labels of classes as names that differ, as some models give two classes one."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def _json(path: Path, *, needed: bool = False) -> dict[str, Any]:
    if not path.is_file():
        if needed:
            raise ModelError(
                f"scorer {path.parent}: no config.json; name a folder of transformers, or a reader's file"
            )
        return {}
    try:
        found = json.loads(read_text(path, ModelError))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {_line(error)}") from error
    return found if isinstance(found, dict) else {}


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
