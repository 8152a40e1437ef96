"""Opening a registered model in the process that uses it: once, on the best device, and only when it is needed."""

from functools import lru_cache

import torch

from loco.errors import ModelError
from loco.models.diffusers_folder import open_folder
from loco.models.inference import for_inference
from loco.models.network import NetworkDenoiser
from loco.models.source import model_folder
from registry.records import ModelRecord


def device() -> str:
    """The device that networks run on: the first GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def open_model(record: ModelRecord, dtype: str, place: str | None = None) -> NetworkDenoiser:
    """The model of that record as a denoiser, on the device `place` or the best there is; opened once a process.

    Raises `ModelError` when its folder is gone or its weights are no longer those that were registered.
    """
    return _open(record, dtype, place or device())


@lru_cache(maxsize=2)
def open_fast(record: ModelRecord, dtype: str, place: str | None = None) -> NetworkDenoiser:
    """The same for running forwards only, which is faster; raises `ModelError` likewise."""
    return for_inference(
        _opened(record, dtype, place or device())
    )  # changed in place: not the one to differentiate


@lru_cache(maxsize=2)
def _open(record: ModelRecord, dtype: str, place: str) -> NetworkDenoiser:
    return _opened(record, dtype, place)


def _opened(record: ModelRecord, dtype: str, place: str) -> NetworkDenoiser:
    card, denoiser = open_folder(model_folder(record.source), device=place, dtype=getattr(torch, dtype))
    if card.id != record.id:
        raise ModelError(
            f"model {record.name!r} changed since it was added: {record.source} now holds {card.id[:12]}, "
            f"expected {record.id[:12]}; add it again with `loco model add {record.name} {record.source}`"
        )
    return denoiser
