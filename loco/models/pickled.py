"""Tensors out of pickled files, without running anything: torch's `weights_only` reader behind checks of its own.

A file of torch is a ZIP of one pickle and raw tensors, an older one a pickle alone. A ZIP with other than plain members
is refused before it is opened, and so is a tar archive, which torch's oldest reader unpacks, links and all.
"""

import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.errors import ModelError
from loco.models.layout import read_header
from loco.outside import opened

State = dict[str, Tensor]

_NESTED = ("ema", "model", "state_dict", "module")
"""Names under which training programs keep the weights among other things."""


def read_tensors(source: Path, what: str = "checkpoint") -> dict[str, Any]:
    """What the safetensors or pickled file holds, tensors and plain values; raises `ModelError`.

    Nothing in the file is executed: one that holds more than tensors and plain values is refused.
    """
    try:
        if source.suffix == ".safetensors":
            from safetensors.torch import load_file

            read_header(source)
            content: Any = load_file(source)
        else:
            _check_archive(source, what)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickle protocols, which concern only what is refused
                content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{what} {source}: it holds more than tensors, which can run code when opened, and is not read: "
            f"{str(error).splitlines()[0][:200]}"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{what} {source} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{what} {source}: expected a table of tensors, found something else")
    return content


def read_state(source: Path, what: str = "checkpoint") -> State:
    """The tensors of a checkpoint, by name, also where they stand under `state_dict`; raises as `read_tensors`."""
    content: Any = read_tensors(source, what)
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{what} {source}: expected a table of tensors, found something else")
    return {str(name).removeprefix("module."): _whole(source, name, one) for name, one in content.items()}


def _whole(source: Path, name: object, tensor: Tensor) -> Tensor:
    """The tensor, unless it claims to be larger than what the file holds of it: a view of one number, for one."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ModelError(f"checkpoint {source}: {str(name)[:80]} is no plain tensor, but {tensor.layout}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(
            f"checkpoint {source}: {str(name)[:80]} claims {list(tensor.shape)}, more than the file holds"
        )
    return tensor


def _check_archive(source: Path, what: str) -> None:
    """Refuse tar archives, and ZIP archives with packed, linked or foreign members."""
    if not source.exists():
        raise ModelError(f"{what} {source} cannot be read: no such file")
    with opened(source, ModelError) as file:
        start = file.read(9)
        file.seek(0)
        if start == b"version h":
            raise ModelError(
                f"{what} {source}: expected weights, found a git-lfs pointer, which only stands for them; run "
                f"`git lfs pull` there"
            )
        if start[:4] != b"PK\x03\x04":
            if tarfile.is_tarfile(file):
                raise ModelError(
                    f"{what} {source}: expected a file of torch, found a tar archive, which is not unpacked"
                )
            return
        try:
            members = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ModelError(
                f"{what} {source} cannot be read: it is cut off, or no archive ({error})"
            ) from error
        for member in members:
            linked = (member.external_attr >> 16) & 0o170000 == 0o120000
            if linked or member.compress_type != zipfile.ZIP_STORED or ".." in member.filename.split("/"):
                raise ModelError(
                    f"{what} {source}: expected a file of torch, found an archive with links, packed members or "
                    f"paths out of it ({member.filename[:80]!r}), which is not read"
                )
