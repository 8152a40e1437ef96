"""Model folders as files: JSON, and safetensors read by their headers. No torch, so that listings start fast.

A safetensors file is eight bytes with the length of a JSON header, the header, and the tensors it describes; nothing in
it can be executed. A file is taken only when its length is exactly what its header says.
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from loco.errors import ModelError
from loco.outside import opened, read_text

HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header, as its reference implementation allows."""

_SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16", ".bf16")
_OTHERS = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Weights:
    """The weight files of one part of a model.

    Attributes:
        files: The safetensors files, in the order of their names.
        variant: `fp16` or `bf16` where the files are named so, else None.
        parameters: Number of weights.
        dtypes: Types of the stored weights, as safetensors names them.
    """

    files: tuple[Path, ...]
    variant: str | None
    parameters: int
    dtypes: tuple[str, ...]


def read_json(path: Path, folder: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file of a model folder; raises `ModelError` saying what it should have been."""
    try:
        if not path.exists():
            raise ModelError(
                f"model folder {folder}: expected {what} in {path.relative_to(folder)}, found no such file; "
                f"name the folder of a diffusers pipeline (saved with save_pretrained)"
            )
        content = json.loads(read_text(path, ModelError))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model file {path}: expected JSON, found {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"model file {path}: expected a JSON object, found {type(content).__name__}")
    return content


_FLAT = {"unet": "config.json", "scheduler": "scheduler_config.json"}
"""Parts of the old flat pipelines, which have nothing else, and what says that they lie in the model folder itself."""


def part(folder: Path, name: str) -> Path:
    """The folder of one part: its own, or for old flat pipelines the model folder itself."""
    own = folder / name
    flat = not own.is_dir() and name in _FLAT and (folder / _FLAT[name]).is_file()
    return folder if flat else own


def find_weights(folder: Path, place: Path) -> Weights:
    """The weights of the part at `place`; raises `ModelError` where there are none, or they are not sound."""
    for stem in STEMS:
        for variant in VARIANTS:
            one = place / f"{stem}{variant}.safetensors"
            index = place / f"{stem}.safetensors.index{variant}.json"
            if one.is_file() and index.is_file():
                raise ModelError(
                    f"model folder {folder}: expected one set of weights, found {one.relative_to(folder)} and "
                    f"{index.relative_to(folder)}, which may differ; take one of them away"
                )
            if one.is_file():
                files: tuple[Path, ...] = (one,)
            elif index.is_file():
                files = _shards(folder, place, index)
            else:
                continue
            headers = [read_header(file) for file in files]
            tensors = [tensor for header in headers for tensor in header.values()]
            return Weights(
                files,
                variant.removeprefix(".") or None,
                sum(prod(tensor["shape"]) for tensor in tensors),
                tuple(sorted({str(tensor["dtype"]) for tensor in tensors})),
            )
    others = sorted(path.name for path in place.glob("*") if path.suffix in _OTHERS)
    found = f"found {', '.join(others)}" if others else "found no such file"
    wanted = place / f"{STEMS[0] if place.name in ('unet', 'transformer', 'vae') else STEMS[1]}.safetensors"
    if place == folder:
        wanted = place / f"{STEMS[0]}.safetensors"
    raise ModelError(
        f"model folder {folder}: expected weights in {wanted.relative_to(folder)}, {found}; other formats can run "
        f"code when opened and are not read: `loco model add` converts what it can without executing anything"
    )


def _shards(folder: Path, place: Path, index: Path) -> tuple[Path, ...]:
    table = read_json(index, folder, "the list of weight files").get("weight_map")
    names = sorted(set(table.values())) if isinstance(table, dict) and table else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise ModelError(f"model file {index}: expected a weight_map of plain file names, found another")
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise ModelError(
            f"model file {index}: it names {missing[0]}, which is not there; fetch the model again"
        )
    return tuple(place / name for name in names)


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor name -> dtype, shape and data_offsets of a safetensors file.

    Raises `ModelError` for a file that is another format, is cut off, or whose header does not fit its length.
    """
    try:
        size = path.stat().st_size
        with opened(path, ModelError) as file:
            start = file.read(9)
            length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else size
            if start == b"version h":
                raise _unsound(path, "a git-lfs pointer, which only stands for it; run `git lfs pull` there")
            if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
                raise _unsound(path, "a pickle, which can run code when opened; it is not read")
            if not 2 <= length <= min(size - 8, HEADER_LIMIT):
                raise _unsound(path, "a file that is cut off or of another format")
            file.seek(8)
            header = json.loads(file.read(length))
    except OSError as error:
        raise ModelError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _unsound(path, "a header that is not JSON") from error
    if not isinstance(header, dict):
        raise _unsound(path, "a header that is no table")
    header.pop("__metadata__", None)
    if not header:
        raise _unsound(path, "one without any tensor")
    _check_header(path, header, size - 8 - length)
    return header


def _check_header(path: Path, header: dict[str, Any], size: int) -> None:
    """Every tensor as long as its shape says, one after the other, to the file's end."""
    spans = []
    for name, tensor in header.items():
        try:
            shape, (first, last) = tensor["shape"], tensor["data_offsets"]
            width = _SIZES.get(tensor["dtype"])
            sound = all(isinstance(n, int) and n >= 0 for n in (*shape, first, last))
        except (TypeError, KeyError, ValueError):
            sound, width, shape, first, last = False, None, [], 0, 0
        if not sound or last < first or (width is not None and last - first != width * prod(shape)):
            raise _unsound(path, f"an entry {name[:80]!r} that does not describe a tensor")
        spans.append((first, last))
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise _unsound(path, "tensors with gaps or overlaps between them")
        end = last
    if end != size:
        raise _unsound(
            path, f"{size} bytes of tensors where its header says {end}: it is cut off, or has more"
        )


def _unsound(path: Path, found: str) -> ModelError:
    return ModelError(
        f"weights {path}: expected a whole safetensors file, found {found}; fetch the model again"
    )
