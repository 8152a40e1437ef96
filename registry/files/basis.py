"""Basis files: where they lie, writing one, reading one or a part of one. `basis_bytes` says what is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from loco.direction import Basis, Direction
from loco.errors import Damaged, InputError, NewerFormat, StorageError
from loco.files import write_atomic
from loco.ids import check_id
from loco.outside import regular, regular_bytes
from registry.files import found, shared
from registry.files.basis_bytes import (
    Header,
    damage,
    decode,
    encode,
    header_of,
    told_in,
    verified,
    wide,
)
from registry.files.found import Found
from registry.home import Home
from registry.records import stamp


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
    header = verified(path, data)
    try:
        ids = {one.row: one.id for one in told_in(path, header.body).directions}
        vectors = wide(load(data)["vectors"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Damaged(damage(path, f"it does not describe a basis: {error}")) from error
    if vectors.ndim != 4 or sorted(ids) != list(range(len(vectors))) or not np.isfinite(vectors).all():
        raise Damaged(damage(path, "its vectors and directions do not fit each other"))
    return ids, vectors


def read_entry(path: Path, lines: Mapping[str, Found] | None = None) -> Entry:
    """What the catalogue keeps of the file, its checksum and shapes verified; raises as `read_basis` does.

    `lines` is what `found.told` gave of its folder, where that was asked.
    """
    from registry.files.sketches import sketch

    data = _bytes(path)
    basis = decode(path, data)
    header = header_of(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
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
                raise Damaged(damage(path, "its header is longer than the file"))
            header = header_of(path, file.read(size))
    except OSError as error:
        raise StorageError(_unreadable(path, error)) from error
    told_in(path, header.body)
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


def _bytes(path: Path) -> bytes:
    """All bytes of a file."""
    try:
        return regular_bytes(path)
    except OSError as error:
        raise StorageError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"basis file {path} is missing; run the same discover again, "
            f"or `loco registry reindex` to forget it"
        )
    return (
        f"cannot read basis file {path}: {error.strerror or error}; check the disk and the file's permissions"
    )


def entry_of(home: Home, basis_id: str) -> Entry:
    """What the catalogue keeps of the basis of that id, fetched where only the shared store has it.

    Raises `StorageError` when the file is missing or holds another basis. One whose arrays are damaged is taken by its
    header.
    """
    path = basis_path(home, basis_id)
    holds(home, basis_id)
    try:
        entry = read_entry(path)
    except Damaged:
        header = read_header(path)
        entry = Entry(header.checksum, header.body, path.stat().st_size, found.look(path, header.body))
    if entry.body.get("id") != basis_id:
        raise StorageError(f"basis file {path} holds another basis; `loco registry verify` tells which")
    return entry


def stacked_vectors(home: Home, directions: Sequence[Direction]) -> NDArray[np.float32]:
    """The directions' vectors [k, C, H, W] float32, in the order given; each file is read once.

    Raises `InputError` when there are none or their shapes differ, and as `vectors_of` does.
    """
    shapes = {direction.shape for direction in directions}
    if len(shapes) != 1:
        told = ", ".join(str(shape) for shape in sorted(shapes)) or "no direction at all"
        raise InputError(f"directions to be used together must be of one shape, found {told}")
    wanted: dict[str, dict[str, int]] = {}
    for direction in directions:
        wanted.setdefault(direction.basis_id, {})[direction.id] = direction.row
    vectors: dict[str, NDArray[np.float32]] = {}
    for basis_id, places in wanted.items():
        holds(home, basis_id)
        vectors.update(vectors_of(basis_path(home, basis_id), places))
    return np.stack([vectors[direction.id] for direction in directions])
