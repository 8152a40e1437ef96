"""What a model folder says of itself, checked without loading its weights: no torch, so that listings start fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loco.errors import ModelError
from loco.ids import content_id, file_id
from loco.models.family import DIFFUSION, EDM, Family, recognise
from loco.models.layout import Weights, find_weights, part, read_json
from loco.ranges import RANGES, refusal

PREDICTIONS = ("epsilon", "v_prediction", "sample")
WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = "card.json"


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
    family, index = recognise(folder)
    network = read_json(part(folder, family.network) / "config.json", folder, "the network's configuration")
    noise = read_json(part(folder, "scheduler") / "scheduler_config.json", folder, "the noise schedule")
    prediction = _prediction(folder, family, noise)
    if network.get("_class_name") not in family.classes:
        raise ModelError(
            f"model folder {folder}: expected a {family.classes[0]}, found {network.get('_class_name')!r}"
        )
    present = _present(folder, family, index)
    autoencoder = (
        read_json(folder / "vae" / "config.json", folder, "the autoencoder's configuration")
        if (family.latent)
        else {}
    )
    card = read_json(folder / CARD, folder, "the model card") if (folder / CARD).exists() else {}
    shape, image_shape = (
        _latent_shapes(folder, family, network, autoencoder)
        if family.latent
        else _pixel_shapes(folder, network)
    )
    weights = {name: find_weights(folder, part(folder, name)) for name in present}
    # What changes x0_hat, and nothing else: versions and paths in the configurations must not change the id.
    configurations = {family.network: network, "vae": autoencoder} | {
        name: read_json(folder / name / "config.json", folder, "the text encoder's configuration")
        for name in present
        if name not in (family.network, "vae")
    }
    meaning = {name: _meaning(configurations[name]) for name in present}
    levels = {
        k: v for k, v in noise.items() if k in ("num_train_timesteps", "prediction_type") or "beta" in k
    }
    if prediction.startswith("edm"):
        levels |= {k: v for k, v in noise.items() if k.startswith("sigma") or k == "rho"} | {"edm": True}
    hashes = {name: [file_id(file) for file in found.files if hashed] for name, found in weights.items()}
    # One part with one file is hashed as it always was, so that its id stays what it was.
    alone = len(present) == 1 and len(hashes[family.network]) == 1 and hashed
    content: list[Any] = (
        [hashes[family.network][0], meaning[family.network], levels]
        if alone
        else [family.name, hashes, meaning, levels, _words_of(folder, family, present), list(shape)]
    )
    recommended, train_steps = card.get("recommended_t"), noise.get("num_train_timesteps", 1000)
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
            prediction_type=prediction,
            shape=shape,
            schedule=_schedule_name(noise, prediction),
            train_steps=train_steps,
            recommended_t=float(recommended) if recommended is not None else None,
            extra=card,
            image_shape=image_shape,
            told=family.told,
            weights=weights,
            labels=_labels(index) if family.told == "a class" else {},
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"model folder {folder}: a number of its configuration is not one: {error}"
        ) from error


def _prediction(folder: Path, family: Family, noise: dict[str, Any]) -> str:
    """What the network predicts, as the card says it."""
    scheduler = noise.get("_class_name", family.schedulers[0])
    if scheduler not in family.schedulers:
        raise ModelError(
            f"model folder {folder}: expected a scheduler of {', '.join(family.schedulers)}, found {scheduler!r}"
        )
    if scheduler not in DIFFUSION + EDM:
        return "flow"
    prediction = noise.get("prediction_type", "epsilon")
    known = PREDICTIONS[:2] if scheduler in EDM else PREDICTIONS
    if prediction not in known:
        raise ModelError(
            f"model folder {folder}: expected prediction_type {', '.join(known[:-1])} or {known[-1]}, "
            f"found {prediction!r}"
        )
    if scheduler in EDM:
        return f"edm-{prediction}"
    if prediction == "epsilon" and noise.get("rescale_betas_zero_snr"):
        raise ModelError(
            f"model folder {folder}: its schedule ends without any signal (rescale_betas_zero_snr), where x0 cannot "
            f"be told from epsilon; such a model predicts v_prediction: correct scheduler/scheduler_config.json"
        )
    return str(prediction)


def _schedule_name(noise: dict[str, Any], prediction: str) -> str:
    if prediction == "flow":
        return "straight"
    if prediction.startswith("edm"):
        return str(noise.get("sigma_schedule", "karras"))
    zero = " to zero signal" if noise.get("rescale_betas_zero_snr") else ""
    return str(noise.get("beta_schedule", "linear")) + zero


def _present(folder: Path, family: Family, index: dict[str, Any]) -> tuple[str, ...]:
    """The family's parts; a text encoder that the index leaves out (`[null, null]`) is left out."""

    def absent(name: str) -> bool:
        entry = index.get(name)
        return name != family.network and isinstance(entry, list) and entry[:2] == [None, None]

    return tuple(name for name in family.parts if not absent(name))


def _meaning(configuration: dict[str, Any]) -> dict[str, Any]:
    skipped = ("decay", "transformers_version", "torch_dtype", "dtype")
    return {k: v for k, v in configuration.items() if not k.startswith("_") and k not in skipped}


def _words_of(folder: Path, family: Family, present: tuple[str, ...]) -> dict[str, list[str]]:
    """Hashes of what turns words into numbers: another vocabulary is another model."""
    return {
        tokenizer: [
            file_id(path)
            for path in sorted((folder / tokenizer).glob("*"))
            if path.name in ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model")
        ]
        for encoder, tokenizer in family.encoders
        if encoder in present
    }


def _labels(index: dict[str, Any]) -> dict[int, str]:
    return {int(number): str(label) for number, label in (index.get("id2label") or {}).items()}


def _pixel_shapes(folder: Path, network: dict[str, Any]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(C, H, W) of x_t and of the image of a network on colour images; refuses what needs class labels."""
    if network.get("num_class_embeds") is not None or network.get("class_embed_type") is not None:
        raise ModelError(
            f"model folder {folder}: expected an unconditional network, found one that takes class labels"
        )
    size, channels = network.get("sample_size"), network.get("in_channels")
    sides = _sides(size)
    if sides is None or channels != 3:
        raise ModelError(
            f"model folder {folder}: expected 3 channels at a fixed size, "
            f"found in_channels {channels!r} and sample_size {size!r}"
        )
    shape = (3, *sides)
    return shape, shape


def _latent_shapes(
    folder: Path, family: Family, network: dict[str, Any], autoencoder: dict[str, Any]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(C, H, W) of the latents and of the image."""
    channels, blocks = autoencoder.get("latent_channels"), autoencoder.get("block_out_channels")
    packed = 4 if family.name == "flux" else 1  # Flux's transformer sees 2 x 2 latent cells as one
    if (
        not isinstance(channels, int)
        or not isinstance(blocks, list)
        or network.get("in_channels") != channels * packed
    ):
        raise ModelError(
            f"model folder {folder}: expected a network on the autoencoder's {channels!r} latent channels, "
            f"found one on {network.get('in_channels')!r}"
        )
    factor = 2 ** (len(blocks) - 1)
    size = network.get("sample_size")
    if size is None and isinstance(autoencoder.get("sample_size"), int):
        size = autoencoder["sample_size"] // factor
    sides = _sides(size)
    if sides is None:
        raise ModelError(
            f"model folder {folder}: expected latents of a fixed size, found sample_size {size!r}"
        )
    return (channels, *sides), (3, sides[0] * factor, sides[1] * factor)


def _sides(size: object) -> tuple[int, int] | None:
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    if not all(RANGES["sample_size"].holds(side) for side in sides):
        return None
    return sides[0], sides[1]
