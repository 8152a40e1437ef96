"""What a model folder says of itself, checked without loading its weights: no torch, so that listings start fast."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loco.errors import ModelError
from loco.ids import content_id, file_id
from loco.models.adapted import NAME as ADAPTED
from loco.models.adapted import Adapters, read_adapted
from loco.models.family import FAMILIES, Family, recognise
from loco.models.hashes import hash_of
from loco.models.layout import Weights, find_weights, part, read_json
from loco.models.noise import levels, prediction, schedule_name
from loco.models.noise import train_steps as train_steps_of
from loco.models.source import model_folder
from loco.ranges import RANGES, refusal

WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = "card.json"

_TEXT = "the text encoder's"


@dataclass(frozen=True)
class ModelCard:
    """What can be known of a model folder without loading its weights.

    Attributes:
        id: Hash of the weights' bytes, the networks' configurations and the schedule.
        folder: Where it lies.
        family: Name of its `Family`.
        prediction_type: `epsilon`, `v_prediction`, `sample`, `flow`, or `edm-epsilon` and `edm-v_prediction` behind
            the preconditioning of EDM.
        shape: (C, H, W) of x_t.
        schedule: Name of the noise schedule.
        train_steps: Training steps of the schedule.
        recommended_t: From the folder's `card.json`, or None.
        extra: Everything else that `card.json` says.
        image_shape: (3, H, W) of its images; that of x_t for a pixel model.
        told: What it can be told: `nothing`, `words` or `a class`.
        weights: The weight files of each part.
        labels: Class names by number, for a model that is told a class.
        adapters: What is added to the weights of a model that has adapters; None for one without.
        codec: The part that is the autoencoder of a latent model.
    """

    id: str
    folder: Path
    family: str
    prediction_type: str
    shape: tuple[int, int, int]
    schedule: str
    train_steps: int
    recommended_t: float | None
    extra: dict[str, Any]
    image_shape: tuple[int, int, int]
    told: str
    weights: dict[str, Weights]
    labels: dict[int, str]
    adapters: Adapters | None = None
    codec: str = "vae"

    @property
    def parameters(self) -> int:
        """Number of weights, all parts together."""
        return sum(weights.parameters for weights in self.weights.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types of the stored weights, as safetensors names them."""
        return tuple(sorted({dtype for weights in self.weights.values() for dtype in weights.dtypes}))

    def place(self, name: str) -> Path:
        """The folder of one part."""
        return part(self.folder, name)


def read_card(folder: Path, *, hashed: bool = True) -> ModelCard:
    """Check a model folder and describe it; raises `ModelError` saying what is missing or not supported.

    Without `hashed` no weights are read, and the id is empty: for showing, where a hash of gigabytes would take long.
    """
    adapters = read_adapted(folder)
    if adapters is not None:
        if (model_folder(adapters.base) / ADAPTED).exists():
            raise ModelError(
                f"model folder {folder}: its base {adapters.base} has adapters itself; name its base"
            )
        base = read_card(model_folder(adapters.base), hashed=hashed)
        resized = base if adapters.size is None else _resized(base, adapters.size)
        return replace(resized, id=adapters.identity(base.id, hashed=hashed), adapters=adapters)
    family, index = recognise(folder)
    network = _configuration(folder, family.network, index)
    noise = read_json(part(folder, "scheduler") / "scheduler_config.json", folder, "the noise schedule")
    predicts = prediction(folder, family.schedulers, noise)
    if network.get("_class_name") not in family.classes:
        raise ModelError(
            f"model folder {folder}: expected {family.network} to be a {family.classes[0]}, "
            f"found {network.get('_class_name')!r}"
        )
    tells, present = _told(folder, family, network), _present(folder, family, index)
    autoencoder = _configuration(folder, family.codec, index) if family.latent else {}
    card = read_json(folder / CARD, folder, "the model card") if (folder / CARD).exists() else {}
    shape, image_shape = (
        _latent_shapes(folder, family, network, autoencoder)
        if family.latent
        else _pixel_shapes(folder, family, network)
    )
    # What changes x0_hat, and nothing else: versions and paths in the configurations must not change the id.
    configurations = {family.network: network, family.codec: autoencoder} | {
        name: _configuration(folder, name, index)
        for name in present
        if name not in (family.network, family.codec)
    }
    weights = {name: find_weights(folder, part(folder, name)) for name in present}
    meaning = {name: _meaning(configurations[name]) for name in present}
    hashes = {name: [hash_of(file) for file in found.files if hashed] for name, found in weights.items()}
    # One part with one file is hashed as it always was, so that its id stays what it was.
    alone = len(present) == 1 and len(hashes[family.network]) == 1 and hashed
    content: list[Any] = (
        [hashes[family.network][0], meaning[family.network], levels(noise, predicts)]
        if alone
        else [
            *(family.name, hashes, meaning, levels(noise, predicts)),
            *(_words_of(folder, family, present), list(shape)),
            *_told_nothing(family, index),
        ]
    )
    recommended, train_steps = card.get("recommended_t"), train_steps_of(noise)
    told = {name: noise[name] for name in ("beta_start", "beta_end") if noise.get(name) is not None}
    told |= {} if recommended is None else {"recommended_t": recommended}
    for name, value in ({"num_train_timesteps": train_steps} | told).items():
        trouble = refusal(name, value)
        if trouble:
            raise ModelError(f"model folder {folder}: {trouble}; correct its configuration")
    try:
        return ModelCard(
            id=content_id("model", content) if hashed else "",
            folder=folder,
            family=family.name,
            prediction_type=predicts,
            shape=shape,
            schedule=schedule_name(noise, predicts),
            train_steps=train_steps,
            recommended_t=float(recommended) if recommended is not None else None,
            extra=card,
            image_shape=image_shape,
            told=tells,
            weights=weights,
            labels=_labels(index) if tells == "a class" else {},
            codec=family.codec,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"model folder {folder}: a number of its configuration is not one: {error}"
        ) from error


def _resized(card: ModelCard, size: tuple[int, int]) -> ModelCard:
    """The model at another size of images (height, width); raises `ModelError` where it has but one."""
    [family] = [one for one in FAMILIES if one.name == card.family]
    if not family.resizable:
        raise ModelError(
            f"model folder {card.folder}: a {card.family} has learnt the positions of images of "
            f"{card.image_shape[1]} x {card.image_shape[2]}, and takes no others"
        )
    cell = card.image_shape[1] // card.shape[1]
    if min(size) < 2 * cell:
        raise ModelError(
            f"model folder {card.folder}: expected height and width of at least {2 * cell} pixels, found {size[0]} x "
            f"{size[1]}"
        )
    if any(side % cell for side in size):
        raise ModelError(
            f"model folder {card.folder}: expected height and width in multiples of {cell}, the pixels of a latent, "
            f"found {size[0]} x {size[1]}"
        )
    channels = card.shape[0]
    return replace(card, shape=(channels, size[0] // cell, size[1] // cell), image_shape=(3, *size))


def _present(folder: Path, family: Family, index: dict[str, Any]) -> tuple[str, ...]:
    """The family's parts; a text encoder that the index leaves out (`[null, null]`) is left out."""

    def absent(name: str) -> bool:
        entry = index.get(name)
        return name != family.network and isinstance(entry, list) and entry[:2] == [None, None]

    return tuple(name for name in family.parts if not absent(name))


def _configuration(folder: Path, name: str, index: dict[str, Any]) -> dict[str, Any]:
    """The configuration of one part with weights; raises `ModelError` where it is missing, or of quantised weights."""
    kind = {"unet": "the network's", "transformer": "the network's"}
    kind |= {"vae": "the autoencoder's", "vqvae": "the autoencoder's"}
    entry = None if name in ("unet", "transformer") else index.get(name)
    named = f" (a {entry[1]})" if isinstance(entry, list) and len(entry) == 2 and entry[1] else ""
    what = f"{kind.get(name, _TEXT)} configuration{named}"
    found = read_json(part(folder, name) / "config.json", folder, what)
    if found.get("quantization_config") is not None:
        settings = found["quantization_config"]
        method = settings.get("quant_method") if isinstance(settings, dict) else settings
        raise ModelError(
            f"model folder {folder}: expected plain weights, found {name} quantised by {method!r:.40}, which has no "
            f"derivatives; take the model as it was before"
        )
    return found


def _meaning(configuration: dict[str, Any]) -> dict[str, Any]:
    skipped = ("decay", "transformers_version", "torch_dtype", "dtype")
    return {k: v for k, v in configuration.items() if not k.startswith("_") and k not in skipped}


_VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "vocab.txt"),
    "chat_template.jinja",
)

_SPELLING = (
    "pad_token",
    "bos_token",
    "eos_token",
    "unk_token",
    "model_max_length",
    "do_lower_case",
    "add_prefix_space",
)
_SPELLING_OF_OTHERS = ("add_bos_token", "add_eos_token", "padding_side", "legacy", "chat_template")
"""What counts beside those for a tokenizer that is neither CLIP's nor T5's."""

_USUAL = (
    {"pad_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    | {
        "unk_token": "<|endoftext|>",
        "model_max_length": 77,
        "do_lower_case": True,
        "add_prefix_space": False,
    },
    {"pad_token": "<pad>", "bos_token": None, "eos_token": "</s>", "unk_token": "<unk>"},
)
"""How CLIP's and T5's tokenizers are usually set; what differs is in the id, what does not never was.

A T5 is asked for a number of tokens that its own limit does not change.
"""


def _words_of(folder: Path, family: Family, present: tuple[str, ...]) -> dict[str, list[Any]]:
    """Hashes of what turns words into numbers: another vocabulary, or another token for padding, is another model."""
    return {
        tokenizer: [
            *(file_id(path) for path in sorted((folder / tokenizer).glob("*")) if path.name in _VOCABULARIES),
            *_unusual(folder, tokenizer),
        ]
        for encoder, tokenizer in family.encoders
        if encoder in present
    }


def _unusual(folder: Path, tokenizer: str) -> list[dict[str, Any]]:
    """A tokenizer's settings that are not the usual ones, as [settings]; else []."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # what the second says counts
        path = folder / tokenizer / name
        if path.is_file():
            settings |= read_json(path, folder, "the tokenizer's settings")
    names = read_json(folder / "model_index.json", folder, "a diffusers pipeline").get(tokenizer)
    plain = isinstance(names, list) and str(names[-1]).startswith(("CLIP", "T5"))
    known = _SPELLING if plain else (*_SPELLING, *_SPELLING_OF_OTHERS)
    told = {key: _token(settings[key]) for key in known if key in settings}
    usual = _USUAL[1] if told.get("eos_token") == "</s>" else _USUAL[0]
    if usual is _USUAL[1]:
        told.pop("model_max_length", None)
    odd = {key: value for key, value in told.items() if key not in usual or usual[key] != value}
    return [odd] if odd else []


def _token(value: Any) -> Any:
    """A token's text, which may stand in a table of its own."""
    return value.get("content") if isinstance(value, dict) else value


def _told_nothing(family: Family, index: dict[str, Any]) -> list[dict[str, Any]]:
    """What a pipeline says of how nothing is told, as [settings], where it is not the usual; else []."""
    said = {
        name: index[name]
        for name, usual in (("force_zeros_for_empty_prompt", True), ("requires_aesthetics_score", False))
        if family.name == "sdxl" and index.get(name, usual) not in (usual, None)
    }
    if family.name == "pixart":  # its two pipelines tell it words of different lengths
        said["pipeline"] = index.get("_class_name")
    if family.name == "flux2" and index.get("is_distilled"):
        said["is_distilled"] = True
    return [said] if said else []


def _labels(index: dict[str, Any]) -> dict[int, str]:
    return {int(number): str(label) for number, label in (index.get("id2label") or {}).items()}


def _pixel_shapes(
    folder: Path, family: Family, network: dict[str, Any]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(C, H, W) of x_t and of the image of a network on colour or grey images."""
    size, channels = network.get("sample_size"), network.get("in_channels")
    sides = _sides(size)
    known = (1, 3) if family.name == "unet2d" else (3,)
    if sides is None or not isinstance(channels, int) or channels not in known:
        raise ModelError(
            f"model folder {folder}: expected {' or '.join(map(str, known))} channels at a fixed size, "
            f"found in_channels {channels!r} and sample_size {size!r}"
        )
    return (channels, *sides), (3, *sides)


def _told(folder: Path, family: Family, network: dict[str, Any]) -> str:
    """What the model can be told; raises `ModelError` where it is told what nothing here can tell."""
    kind, count = network.get("class_embed_type"), network.get("num_class_embeds")
    if kind is None and count is None:
        return family.told
    if family.name == "unet2d" and kind is None and isinstance(count, int) and count > 0:
        return "a class"
    raise ModelError(
        f"model folder {folder}: found a network that takes class labels (class_embed_type {kind!r}, "
        f"num_class_embeds {count!r}), which is known only of UNet2DModel with num_class_embeds"
    )


_PACKED = ("flux", "chroma", "qwenimage", "flux2")
"""Families whose transformers see 2 x 2 latent cells as one; the last diffuses them so, too."""


def _latent_shapes(
    folder: Path, family: Family, network: dict[str, Any], autoencoder: dict[str, Any]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(C, H, W) of the latents and of the image."""
    channels = autoencoder.get("latent_channels", autoencoder.get("z_dim"))
    names = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
    blocks = next((autoencoder[name] for name in names if name in autoencoder), None)
    packed = 4 if family.name in _PACKED else 1
    if (
        not isinstance(channels, int)
        or not isinstance(blocks, list)
        or network.get("in_channels") not in (channels * packed, *_inpainting(family, channels))
    ):
        raise ModelError(
            f"model folder {folder}: expected a network on the autoencoder's {channels!r} latent channels, "
            f"found one on {network.get('in_channels')!r}"
        )
    factor = 2 ** (len(blocks) - 1)
    size = network.get("sample_size")
    if size is None and isinstance(autoencoder.get("sample_size"), int):
        size = autoencoder["sample_size"] // factor
    size = family.usual_size if size is None else size
    sides = _sides(size)
    if sides is None:
        raise ModelError(
            f"model folder {folder}: expected latents of a fixed size, found sample_size {size!r}"
        )
    image = (3, sides[0] * factor, sides[1] * factor)
    if family.name == "flux2":
        return (channels * packed, sides[0] // 2, sides[1] // 2), image
    return (channels, *sides), image


def _inpainting(family: Family, channels: int) -> tuple[int, ...]:
    """Channels of a network that sees a mask and the latents of what lies outside it, too."""
    return (2 * channels + 1,) if family.name in ("stable_diffusion", "sdxl") else ()


def _sides(size: object) -> tuple[int, int] | None:
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    if not all(RANGES["sample_size"].holds(side) for side in sides):
        return None
    return sides[0], sides[1]
