"""Basis files: direction vectors with everything that is known about them, in one safetensors file.

Tensors: `vectors` [n, C, H, W] float32 and `mask.<i>` [H, W] uint8 for region i. The file's metadata hold
`basis` (canonical JSON of all the rest) and `sha256`, the checksum of the whole file with that checksum's own
64 characters set to zero, so that no byte of the file can change unseen.
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
from loco.errors import Damaged, InputError, StorageError
from loco.ids import ID_LENGTH, canonical
from loco.recipes import DiscoverRecipe, build_recipe
from registry.home import Home, write_atomic

FORMAT = 2
"""Version of the file's layout. 2 adds fields to the directions; in a file of 1 they have their defaults."""

_READ = (1, 2)

_MARK = b'"sha256":"'
_BLANK = b"0" * 64
_REMEDY = "delete the file and run the same discover again"


@dataclass(frozen=True)
class Header:
    """What a basis file says of itself, without its arrays: its checksum and the plain data under `basis`."""

    checksum: str
    body: dict[str, Any]


def is_id(value: str) -> bool:
    """Whether `value` is an id: 32 of 0-9 and a-f, and so safe in a path and in a statement."""
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", value) is not None


def check_id(value: str, what: str) -> str:
    """`value` if it is an id; raises `InputError` otherwise."""
    if not is_id(value):
        raise InputError(f"{what}: an id is {ID_LENGTH} characters of 0-9 and a-f, found {value[:80]!r}")
    return value


def basis_path(home: Home, basis_id: str) -> Path:
    """Where the basis file of that id lies; raises `InputError` for anything that is not an id."""
    return home.basis(check_id(basis_id, "basis"))


def write_basis(home: Home, basis: Basis) -> Path:
    """Write the basis to its place in the home, unless a sound file lies there already; returns its path.

    Written beside, read back, then named. Raises `InputError` for a basis that does not fit together and
    `StorageError` when the disk does not take it; nothing is left behind then.
    """
    path = basis_path(home, basis.id)
    if path.is_file():
        try:
            if read_basis(path).id == basis.id:
                return path
        except Damaged:
            pass  # a known id means no work, a damaged file does not
    write_atomic(path, encode(basis), check=read_basis)
    return path


def read_basis(path: Path) -> Basis:
    """The basis in a file, its checksum and shapes verified.

    Raises `Damaged` naming file and remedy, or `StorageError` when the file cannot be read.
    """
    return _decode(path, _bytes(path))


def read_header(path: Path) -> Header:
    """What the file says of itself, without reading its arrays or verifying its checksum.

    Raises `Damaged` when not even that can be read, `StorageError` when the file is missing.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise Damaged(_damage(path, "its header is longer than the file"))
            return _header(path, file.read(size))
    except OSError as error:
        raise StorageError(_unreadable(path, error)) from error


def encode(basis: Basis) -> bytes:
    """The bytes of the basis file; raises `InputError` for a basis that does not fit together."""
    trouble = _misfit(basis)
    if trouble:
        raise InputError(f"basis {basis.id}: {trouble}")
    body = {
        "format": FORMAT,
        "id": basis.id,
        "model": basis.model,
        "image_id": basis.image_id,
        "image_name": basis.image_name,
        "recipe": asdict(basis.recipe),
        "rois": [{"id": roi.id, "name": roi.name, "source": roi.source} for roi in basis.rois],
        "directions": [asdict(direction) for direction in basis.directions],
        "refused": [asdict(refusal) for refusal in basis.refused],
        "products": basis.products,
        "evaluations": basis.evaluations,
        "provenance": basis.provenance,
    }
    tensors: dict[str, NDArray[Any]] = {"vectors": np.ascontiguousarray(basis.vectors, dtype="<f4")}
    for number, roi in enumerate(basis.rois):
        tensors[f"mask.{number}"] = np.ascontiguousarray(roi.mask, dtype=np.uint8)
    try:
        text = canonical(body)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"basis {basis.id}: cannot be written as plain data: {error}") from error
    data: bytes = save(tensors, {"basis": text, "sha256": _BLANK.decode()})
    at = _checksum_at(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:at] + digest + data[at + 64 :]


def _decode(path: Path, data: bytes) -> Basis:
    """The basis in the bytes of a file."""
    header = _header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    at = _checksum_at(data)
    if hashlib.sha256(data[:at] + _BLANK + data[at + 64 :]).hexdigest() != header.checksum:
        raise Damaged(_damage(path, "its bytes are not what its checksum says"))
    try:
        basis = _basis(header.body, load(data))
    except (SafetensorError, InputError, KeyError, TypeError, ValueError) as error:
        raise Damaged(_damage(path, f"it does not describe a basis: {error}")) from error
    trouble = _misfit(basis)
    if trouble:
        raise Damaged(_damage(path, trouble))
    return basis


def _basis(body: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Basis:
    """The basis of a file's plain data and arrays."""
    masks = [tensors[f"mask.{number}"].astype(np.bool_) for number in range(len(body["rois"]))]
    return Basis(
        id=body["id"],
        model=body["model"],
        image_id=body["image_id"],
        image_name=body["image_name"],
        recipe=build_recipe(DiscoverRecipe, body["recipe"]),
        rois=tuple(RoiMask(mask=mask, **roi) for mask, roi in zip(masks, body["rois"], strict=True)),
        directions=tuple(directions_of(body)),
        vectors=tensors["vectors"],
        refused=tuple(Refusal(**refusal) for refusal in body["refused"]),
        products=body["products"],
        evaluations=body["evaluations"],
        provenance=body["provenance"],
    )


def directions_of(body: Mapping[str, Any]) -> list[Direction]:
    """The directions in a header's plain data."""
    return [Direction(**{**item, "shape": tuple(item["shape"])}) for item in body["directions"]]


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
    for roi in basis.rois:
        if roi.mask.ndim != 2 or roi.mask.dtype != np.bool_:
            return (
                f"the mask of {roi.name!r} must be [H, W] bool, found {list(roi.mask.shape)} {roi.mask.dtype}"
            )
    return None


def _header(path: Path, text: bytes) -> Header:
    """The header in the JSON text at a file's start."""
    try:
        metadata = json.loads(text)["__metadata__"]
        body, checksum = json.loads(metadata["basis"]), metadata["sha256"]
        version = body["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(_damage(path, "its header cannot be read")) from error
    if not isinstance(checksum, str):
        raise Damaged(_damage(path, "its header cannot be read"))
    if version not in _READ:
        raise Damaged(_damage(path, f"its format is {version!r}, this program reads up to format {FORMAT}"))
    return Header(checksum, body)


def _checksum_at(data: bytes) -> int:
    """Where the checksum's characters begin. Inside the JSON text quotes are escaped: the mark is unique."""
    return data.find(_MARK) + len(_MARK)


def _bytes(path: Path) -> bytes:
    """All bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(_unreadable(path, error)) from error


def _damage(path: Path, trouble: str) -> str:
    return f"basis file {path} is damaged: {trouble}; {_REMEDY}"


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"basis file {path} is missing; run the same discover again, "
            f"or `loco registry reindex` to forget it"
        )
    return (
        f"cannot read basis file {path}: {error.strerror or error}; check the disk and the file's permissions"
    )


def vectors_of(path: Path, rows: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    """Vectors [C, H, W] float32 of the directions `rows` (id -> row) in one basis file.

    Raises `Damaged` or `StorageError` as `read_basis` does, and `StorageError` when the file holds other
    directions than the catalogue says.
    """
    basis = read_basis(path)
    held = {direction.id: direction.row for direction in basis.directions}
    for direction_id, row in rows.items():
        if held.get(direction_id) != row:
            raise StorageError(
                f"basis file {path} does not hold direction {direction_id} in row {row}; "
                f"run `loco registry reindex`"
            )
    return {direction_id: basis.vectors[row] for direction_id, row in rows.items()}
