"""Basis files: direction vectors with everything that is known about them, in one safetensors file.

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
from loco.errors import Damaged, InputError, NewerFormat, StorageError
from loco.files import write_atomic
from loco.ids import ID_LENGTH, canonical
from loco.outside import regular, regular_bytes
from loco.recipes import DiscoverRecipe
from registry.files import checked, found, shared
from registry.files.found import Found
from registry.home import Home
from registry.records import stamp

FORMAT = 3
"""Version of the file's layout. 2 and 3 add fields to the directions; in an older file they have their defaults. 3 adds
arrays; an older file has none."""

_MARK = b'"sha256":"'
_BLANK = b"0" * 64
_HEADER = 256 << 20
_ARRAY = "array."
_KINDS = ("float16", "float32", "uint8")
_REMEDY = "delete the file and run the same discover again"


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


@dataclass(frozen=True)
class Entry(Header):
    """What the catalogue keeps of a basis file: its header and what its arrays tell.

    Attributes:
        size: Bytes of the file.
        areas: Fraction of the pixels in each region; empty where the arrays could not be read.
        found: When it was found and how long that took.
        sketches: [n, SKETCH] float32 by row; None where the arrays could not be read.
    """

    size: int
    found: Found
    areas: tuple[float, ...] = ()
    sketches: NDArray[np.float32] | None = None


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


def write_basis(home: Home, basis: Basis, seconds: float = 0.0) -> Path:
    """Write the basis, which took so long, to its place in the home, unless a sound file lies there already.

    Returns its path. Written beside, read back, then named; then sent to the home's shared store, if it has one. Raises
    `InputError` for a basis that does not fit together and `StorageError` when the disk does not take it;
    nothing is left behind then.
    """
    path = basis_path(home, basis.id)
    how = shared.settings(home)
    store = shared.shared(home)
    try:
        sound = holds(home, basis.id) and read_basis(path).id == basis.id
    except Damaged:
        sound = False  # a known id means no work, a damaged file does not
    if not sound:

        def tell(partial: Path) -> None:
            read_basis(partial)
            found.note(path, found.just(basis.id, seconds))

        write_atomic(path, encode(basis, how.dtype), check=tell)
    if store is not None and not store.has(basis.id):
        store.put(basis.id, regular_bytes(path))
    return path


def holds(home: Home, basis_id: str) -> bool:
    """Whether the basis' file is there; one that only the shared store has is fetched."""
    path = basis_path(home, basis_id)
    if path.is_file():
        return True
    store = shared.shared(home)
    if store is None or not store.has(basis_id):
        return False
    data, since = store.get(basis_id), store.since(basis_id)
    if since is not None:
        found.note(path, Found(basis_id, stamp(since)))
    write_atomic(path, data, check=read_basis)
    return True


def read_basis(path: Path) -> Basis:
    """The basis in a file, its checksum and shapes verified.

    Raises `Damaged` naming file and remedy, `NewerFormat` for a file of a newer program, or `StorageError` when the
    file cannot be read.
    """
    return decode(path, _bytes(path))


def read_vectors(path: Path) -> tuple[dict[int, str], NDArray[np.float32]]:
    """The ids of a file's directions by row and its vectors [n, C, H, W], verified by the checksum alone.

    A third of what `read_basis` costs. Raises as that does.
    """
    data = _bytes(path)
    header = _verified(path, data)
    try:
        ids = {one.row: one.id for one in _told(path, header.body).directions}
        vectors = _wide(load(data)["vectors"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Damaged(_damage(path, f"it does not describe a basis: {error}")) from error
    if vectors.ndim != 4 or sorted(ids) != list(range(len(vectors))) or not np.isfinite(vectors).all():
        raise Damaged(_damage(path, "its vectors and directions do not fit each other"))
    return ids, vectors


def _verified(path: Path, data: bytes) -> Header:
    """The header of a file's bytes, which are what its checksum says; raises `Damaged` otherwise."""
    header = _header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    at = _checksum_at(data)
    if hashlib.sha256(data[:at] + _BLANK + data[at + 64 :]).hexdigest() != header.checksum:
        raise Damaged(_damage(path, "its bytes are not what its checksum says"))
    return header


def read_entry(path: Path, lines: Mapping[str, Found] | None = None) -> Entry:
    """What the catalogue keeps of the file, its checksum and shapes verified; raises as `read_basis` does.

    `lines` is what `found.told` gave of its folder, where that was asked.
    """
    from registry.files.sketches import sketch

    data = _bytes(path)
    basis = decode(path, data)
    header = _header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    areas = tuple(float(roi.mask.mean()) for roi in basis.rois)
    told = found.look(path, header.body, lines)
    return Entry(header.checksum, header.body, len(data), told, areas, sketch(basis.vectors))


def read_header(path: Path) -> Header:
    """What the file says of itself, without reading its arrays or verifying its checksum.

    Raises `Damaged` when not even that can be read, `NewerFormat` for a file of a newer program, `StorageError` when
    the file is missing.
    """
    try:
        with regular(path) as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise Damaged(_damage(path, "its header is longer than the file"))
            header = _header(path, file.read(size))
    except OSError as error:
        raise StorageError(_unreadable(path, error)) from error
    _told(path, header.body)
    return header


def is_newer(path: Path) -> bool:
    """Whether a newer program wrote the basis file, as far as its header tells: then its content is not known here."""
    try:
        read_header(path)
    except NewerFormat:
        return True
    except StorageError:
        pass
    return False


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
    header = _verified(path, data)
    try:
        basis = _basis(_told(path, header.body), load(data))
    except (SafetensorError, InputError, KeyError, TypeError, ValueError) as error:
        raise Damaged(_damage(path, f"it does not describe a basis: {error}")) from error
    trouble = _misfit(basis)
    if trouble:
        raise Damaged(_damage(path, trouble))
    return basis


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
        vectors=_wide(tensors["vectors"]),
        refused=body.refused,
        products=body.products,
        evaluations=body.evaluations,
        provenance=body.provenance,
        arrays={
            name.removeprefix(_ARRAY): array for name, array in tensors.items() if name.startswith(_ARRAY)
        },
    )


def _wide(vectors: NDArray[Any]) -> NDArray[Any]:
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


def _header(path: Path, text: bytes) -> Header:
    """The header in the JSON text at a file's start."""
    with checked.explained("basis file", path, _REMEDY):
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


def _told(path: Path, body: Mapping[str, Any]) -> _Body:
    """A header's plain data, their types and values as they must be to be catalogued."""
    with checked.explained("basis file", path, _REMEDY):
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


def _bytes(path: Path) -> bytes:
    """All bytes of a file."""
    try:
        return regular_bytes(path)
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
