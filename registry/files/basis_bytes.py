"""The bytes of a basis file: direction vectors with everything that is known about them, in one safetensors file.

Tensors: `vectors` [n, C, H, W] float32 (or float16, then the loss is told), `mask.<i>` [H, W] uint8 for region i, and
further ones by name, `array.<name>` (`loco.direction.Basis.arrays`).
The file's metadata hold `basis` (canonical JSON of all the rest) and `sha256`, the checksum of the whole file with
that checksum's own 64 characters set to zero, so that no byte of the file can change unseen. Times are not in it
(`found` keeps them): the same work gives the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from loco.direction import Basis, Direction, Refusal, RoiMask
from loco.errors import Damaged, InputError
from loco.ids import canonical, is_id
from loco.recipes import DiscoverRecipe
from registry.files import checked, shared

FORMAT = 3
"""Version of the file's layout. 2 and 3 add fields to the directions; in an older file they have their defaults. 3 adds
arrays; an older file has none."""

_MARK = b'"sha256":"'
_BLANK = b"0" * 64
_HEADER = 256 << 20
_ARRAY = "array."
_KINDS = ("float16", "float32", "uint8")
REMEDY = "delete the file and run the same discover again"
"""What to do about a damaged one."""


@dataclass(frozen=True)
class Header:
    """What a basis file says of itself, without its arrays: its checksum and the plain data under `basis`."""

    checksum: str
    body: dict[str, Any]


@dataclass(frozen=True)
class _Region:
    """A region as the header tells it; its mask is an array of its own."""

    id: str
    name: str
    source: str


@dataclass(frozen=True)
class _Body:
    """The plain data of a basis file, by which its header is validated: what is catalogued is what this lets in."""

    id: str
    model: str
    image_id: str
    image_name: str
    recipe: DiscoverRecipe
    rois: tuple[_Region, ...]
    directions: tuple[Direction, ...]
    refused: tuple[Refusal, ...]
    products: int
    evaluations: int
    provenance: dict[str, Any]
    dtype: str = "float32"
    loss: float = 0.0
    written_at: str | None = None


def encode(basis: Basis, dtype: str = "float32") -> bytes:
    """The bytes of the basis file; raises `InputError` for a basis that does not fit together.

    `dtype` is that of the stored vectors; `float16` halves the file and tells in it what that lost.
    """
    trouble = _misfit(basis)
    if trouble:
        raise InputError(f"basis {basis.id}: {trouble}")
    vectors = np.ascontiguousarray(basis.vectors, dtype="<f4")
    told: dict[str, Any] = {}
    if dtype == "float16":
        narrow = vectors.astype("<f2")
        told = {"dtype": dtype, "loss": _loss(vectors, narrow)}
        vectors = narrow
    body = {
        "format": FORMAT,
        **told,
        "id": basis.id,
        "model": basis.model,
        "image_id": basis.image_id,
        "image_name": basis.image_name,
        "recipe": asdict(basis.recipe),
        "rois": [{"id": roi.id, "name": roi.name, "source": roi.source} for roi in basis.rois],
        "directions": [_evidence(direction) for direction in basis.directions],
        "refused": [asdict(refusal) for refusal in basis.refused],
        "products": basis.products,
        "evaluations": basis.evaluations,
        "provenance": basis.provenance,
    }
    tensors: dict[str, NDArray[Any]] = {"vectors": vectors}
    for number, roi in enumerate(basis.rois):
        tensors[f"mask.{number}"] = np.ascontiguousarray(roi.mask, dtype=np.uint8)
    for name, array in basis.arrays.items():
        tensors[f"{_ARRAY}{name}"] = np.ascontiguousarray(array)
    try:
        text = canonical(body)
        checked.typed(_Body, checked.plain(text.encode(), _HEADER), reads=FORMAT)
    except (TypeError, ValueError) as error:
        raise InputError(f"basis {basis.id}: cannot be written as plain data: {error}") from error
    data = _with_metadata(save(tensors), {"basis": text, "sha256": _BLANK.decode()})
    at = _checksum_at(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:at] + digest + data[at + 64 :]


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The safetensors file with metadata, in their order: `save` itself would write them in one that changes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = {"__metadata__": metadata} | json.loads(data[8:start])
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def _evidence(direction: Direction) -> dict[str, Any]:
    """What the file tells of a direction: all but the time."""
    return {name: value for name, value in asdict(direction).items() if name != "seconds"}


def _loss(exact: NDArray[np.float32], narrow: NDArray[np.float16]) -> float:
    """Greatest length of what rounding took from a vector, as a fraction of the vector's length."""
    flat = exact.reshape(len(exact), -1).astype(np.float64)
    lost = np.linalg.norm(flat - narrow.reshape(len(exact), -1).astype(np.float64), axis=1)
    length = np.linalg.norm(flat, axis=1)
    return float(np.divide(lost, length, out=np.zeros_like(lost), where=length > 0).max(initial=0.0))


def decode(path: Path, data: bytes) -> Basis:
    """The basis in the bytes of a file, verified; `path` is for messages. Raises `Damaged` naming it."""
    header = verified(path, data)
    try:
        basis = _basis(told_in(path, header.body), load(data))
    except (SafetensorError, InputError, KeyError, TypeError, ValueError) as error:
        raise Damaged(damage(path, f"it does not describe a basis: {error}")) from error
    trouble = _misfit(basis)
    if trouble:
        raise Damaged(damage(path, trouble))
    return basis


def verified(path: Path, data: bytes) -> Header:
    """The header of a file's bytes, which are what its checksum says; raises `Damaged` otherwise."""
    header = header_of(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    at = _checksum_at(data)
    if hashlib.sha256(data[:at] + _BLANK + data[at + 64 :]).hexdigest() != header.checksum:
        raise Damaged(damage(path, "its bytes are not what its checksum says"))
    return header


def _basis(body: _Body, tensors: Mapping[str, NDArray[Any]]) -> Basis:
    """The basis of a file's plain data and arrays."""
    masks = [tensors[f"mask.{number}"].astype(np.bool_) for number in range(len(body.rois))]
    return Basis(
        id=body.id,
        model=body.model,
        image_id=body.image_id,
        image_name=body.image_name,
        recipe=body.recipe,
        rois=tuple(
            RoiMask(roi.id, roi.name, roi.source, mask) for mask, roi in zip(masks, body.rois, strict=True)
        ),
        directions=body.directions,
        vectors=wide(tensors["vectors"]),
        refused=body.refused,
        products=body.products,
        evaluations=body.evaluations,
        provenance=body.provenance,
        arrays={
            name.removeprefix(_ARRAY): array for name, array in tensors.items() if name.startswith(_ARRAY)
        },
    )


def wide(vectors: NDArray[Any]) -> NDArray[Any]:
    """Stored vectors as float32."""
    return vectors.astype(np.float32) if vectors.dtype == np.float16 else vectors


def _misfit(basis: Basis) -> str | None:
    """What does not fit together in a basis, in words; None for a sound one."""
    vectors = basis.vectors
    if vectors.ndim != 4 or vectors.dtype != np.float32:
        return f"vectors must be [n, C, H, W] float32, found {list(vectors.shape)} {vectors.dtype}"
    if len(basis.directions) != len(vectors):
        return f"{len(basis.directions)} directions but {len(vectors)} vectors"
    if not np.isfinite(vectors).all():
        return "a vector holds numbers that are not finite"
    if sorted(direction.row for direction in basis.directions) != list(range(len(vectors))):
        return "the directions' rows must number the vectors from 0, each once"
    if len({direction.id for direction in basis.directions}) != len(vectors):
        return "two directions share an id"
    for direction in basis.directions:
        if direction.basis_id != basis.id:
            return f"direction {direction.short} belongs to basis {direction.basis_id}"
        if direction.shape != vectors.shape[1:]:
            return f"direction {direction.short} has shape {direction.shape}, its vector {vectors.shape[1:]}"
        if not is_id(direction.id):
            return f"{direction.id[:80]!r} is not a direction's id"
    for name, array in basis.arrays.items():
        if not re.fullmatch(r"[a-z_]+(\.\d+)?", name) or array.dtype.name not in _KINDS:
            return f"the array {name[:80]!r} of {array.dtype} is none that a basis has"
    for roi in basis.rois:
        if roi.mask.ndim != 2 or roi.mask.dtype != np.bool_:
            return (
                f"the mask of {roi.name!r} must be [H, W] bool, found {list(roi.mask.shape)} {roi.mask.dtype}"
            )
    return None


def header_of(path: Path, text: bytes) -> Header:
    """The header in the JSON text at a file's start."""
    with checked.explained("basis file", path, REMEDY):
        outer = checked.plain(text, _HEADER)
        try:
            metadata = outer["__metadata__"]
            body = checked.plain(metadata["basis"].encode(), _HEADER)
            checked.not_newer(body["format"], FORMAT)
            checksum = metadata["sha256"]
        except (KeyError, TypeError, AttributeError) as error:
            raise checked.Unfit("its header cannot be read") from error
        if not isinstance(checksum, str) or not re.fullmatch("[0-9a-f]{64}", checksum):
            raise checked.Unfit("its header cannot be read")
    return Header(checksum, body)


def told_in(path: Path, body: Mapping[str, Any]) -> _Body:
    """A header's plain data, their types and values as they must be to be catalogued."""
    with checked.explained("basis file", path, REMEDY):
        told = checked.typed(_Body, body, reads=FORMAT)
        if told.dtype not in shared.DTYPES:
            raise checked.Unfit(f"its dtype is {told.dtype!r}")
        if not all(map(is_id, (told.id, *(one.id for one in told.directions)))):
            raise checked.Unfit("one of its ids is none")
        if any(one.basis_id != told.id for one in told.directions):
            raise checked.Unfit("it holds a direction of another basis")
        return told


def _checksum_at(data: bytes) -> int:
    """Where the checksum's characters begin. Inside the JSON text quotes are escaped: the mark is unique."""
    return data.find(_MARK) + len(_MARK)


def damage(path: Path, trouble: str) -> str:
    """The message about a damaged file."""
    return f"basis file {path} is damaged: {trouble}; {REMEDY}"
