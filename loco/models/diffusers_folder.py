"""The one door: a folder in the format of diffusers, of whatever family, to its card and its denoiser."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

from loco.models.card import ModelCard, read_card
from loco.models.network import NetworkDenoiser


def open_folder(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[ModelCard, NetworkDenoiser]:
    """Open a model folder as a denoiser, frozen, in evaluation mode; as opened it is told nothing.

    Only safetensors weights and JSON configurations are read; nothing in the folder is executed or unpickled. Raises
    `ModelError` when the folder is not a model of a known family, or its weights do not fit its configuration.
    """
    card = read_card(folder)
    # The family's name comes from our own table, never from the folder.
    opener: Callable[[ModelCard, torch.dtype, str], NetworkDenoiser]
    opener = import_module(f"loco.models.{card.family}").open_model
    return card, opener(card, dtype, device)
