"""What a model folder says of itself, checked without loading its weights: no torch, so that listings start fast."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loco.errors import ModelError
from loco.ids import content_id, file_id

PIPELINES = ("DDPMPipeline", "DDIMPipeline")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = "card.json"


@dataclass(frozen=True)
class ModelCard:
    """What can be known of a model folder without loading its weights.

    Attributes:
        id: Hash of the weights' bytes, the network's configuration and the schedule.
        folder: Where it lies.
        family: `unet2d`.
        prediction_type: `epsilon`, `v_prediction` or `sample`.
        shape: (C, H, W).
        schedule: Name of the noise schedule.
        train_steps: Training steps of the schedule.
        recommended_t: From the folder's `card.json`, or None.
        extra: Everything else that `card.json` says.
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


def read_card(folder: Path) -> ModelCard:
    """Check a model folder and describe it; raises `ModelError` saying what is missing or not supported."""
    if not folder.is_dir():
        raise ModelError(f"model folder {folder} does not exist; name the folder of a diffusers pipeline")
    index = _read_json(folder / "model_index.json", folder, "a diffusers pipeline")
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise ModelError(f"model folder {folder}: expected {' or '.join(PIPELINES)}, found {pipeline!r}")
    network = _read_json(folder / "unet" / "config.json", folder, "the network's configuration")
    noise = _read_json(folder / "scheduler" / "scheduler_config.json", folder, "the noise schedule")
    prediction = noise.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ModelError(
            f"model folder {folder}: expected prediction_type {', '.join(PREDICTIONS[:-1])} or {PREDICTIONS[-1]}, "
            f"found {prediction!r}"
        )
    shape = _shape(folder, network)
    weights = folder / "unet" / WEIGHTS
    if not weights.is_file():
        raise ModelError(
            f"model folder {folder}: expected weights in unet/{WEIGHTS}, found no such file; other formats can run "
            f"code when opened and are not read: save the pipeline again with safe_serialization=True"
        )
    card = _read_json(folder / CARD, folder, "the model card") if (folder / CARD).exists() else {}
    # What changes x0_hat, and nothing else: versions and paths in the configurations must not change the id.
    meaning = {k: v for k, v in network.items() if not k.startswith("_") and k != "decay"}
    levels = {
        k: v for k, v in noise.items() if "beta" in k or k in ("num_train_timesteps", "prediction_type")
    }
    try:
        recommended = card.get("recommended_t")
        return ModelCard(
            id=content_id("model", [file_id(weights), meaning, levels]),
            folder=folder,
            family="unet2d",
            prediction_type=prediction,
            shape=shape,
            schedule=str(noise.get("beta_schedule", "linear")),
            train_steps=int(noise.get("num_train_timesteps", 1000)),
            recommended_t=float(recommended) if recommended is not None else None,
            extra=card,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"model folder {folder}: a number of its configuration is not one: {error}"
        ) from error


def _shape(folder: Path, network: dict[str, Any]) -> tuple[int, int, int]:
    """(C, H, W) of an unconditional UNet2DModel on colour images; refuses any other network."""
    if network.get("_class_name") != "UNet2DModel":
        raise ModelError(
            f"model folder {folder}: expected a UNet2DModel, found {network.get('_class_name')!r}"
        )
    if network.get("num_class_embeds") is not None or network.get("class_embed_type") is not None:
        raise ModelError(
            f"model folder {folder}: expected an unconditional network, found one that takes class labels"
        )
    size, channels = network.get("sample_size"), network.get("in_channels")
    sides = [size, size] if isinstance(size, int) else size
    fixed = (
        isinstance(sides, list)
        and len(sides) == 2
        and all(isinstance(side, int) and side > 0 for side in sides)
    )
    if not fixed or channels != 3:
        raise ModelError(
            f"model folder {folder}: expected 3 channels at a fixed size, "
            f"found in_channels {channels!r} and sample_size {size!r}"
        )
    assert isinstance(sides, list)
    return 3, sides[0], sides[1]


def _read_json(path: Path, folder: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"model folder {folder}: expected {what} in {path.relative_to(folder)}, found no such file; "
            f"name the folder of a diffusers pipeline (saved with save_pretrained)"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"model file {path}: expected JSON, found {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"model file {path}: expected a JSON object, found {type(content).__name__}")
    return content
