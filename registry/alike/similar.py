"""What is like what: sketches propose, the vectors in the basis files decide.

They lie in one matrix beside the catalogue, which is memory-mapped, sorted so that a selection is a few runs of rows,
and made anew when the set of basis files is another.
Likeness is the cosine between two vectors; its sign does not matter for the order, because -v is the same edit
backwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from loco.direction import Direction
from loco.errors import InputError, StorageError
from registry.alike.matrix import matrix
from registry.files.basis import holds, read_vectors
from registry.files.sketches import SKETCH, sketch
from registry.home import Home
from registry.index import queries, rows
from registry.index.rows import among
from registry.index.session import Catalogue
from registry.index.tables import DirectionRow

MOST_PAIRED = 50_000
"""Directions among which all pairs are compared."""

_CANDIDATES = 6
"""Candidates for each result that is wanted, and at least `_LEAST`."""
_LEAST = 60

Place = tuple[str, int]
"""Basis id and row."""


@dataclass(frozen=True)
class Similar:
    """A direction and the cosine to the one asked about, `query` (its id)."""

    direction: Direction
    cosine: float
    query: str


@dataclass(frozen=True)
class Pair:
    """Two directions and the cosine between them."""

    one: Direction
    other: Direction
    cosine: float


def similar(
    catalogue: Catalogue,
    home: Home,
    wanted: Sequence[tuple[str, NDArray[np.float32]]],
    *,
    roi: str | None,
    model: str | None,
    limit: int,
) -> list[Similar]:
    """The directions most like any of `wanted` (id, vector [C, H, W] of one shape), the most alike first.

    Those of `wanted` themselves are left out. Files that are missing or damaged are passed over; `verify` names
    them. Raises `UnknownName` for a model that is not there.
    """
    if not wanted:
        return []
    shape = wanted[0][1].shape
    vectors = np.stack([vector for _, vector in wanted])
    sketches = sketch(vectors)
    known = {key for key, _ in wanted}
    count = max(_LEAST, _CANDIDATES * limit) + len(known)

    model_id = None if model is None else catalogue.read(lambda s: queries.model_id(s, model), "")
    table = matrix(catalogue, home)
    places = {
        place for one in sketches for place in table.nearest(one, count, shape=shape, roi=roi, model=model_id)
    }
    exact = _exact(home, places)
    best: list[tuple[float, str, Place]] = []
    flat = _unit(vectors)
    for place, (key, vector) in exact.items():
        if key in known or vector.shape != shape:
            continue
        cosines = flat @ _unit(vector[None])[0]
        at = int(np.abs(cosines).argmax())
        best.append((float(cosines[at]), wanted[at][0], place))
    best.sort(key=lambda one: (-abs(one[0]), one[2]))
    best = best[:limit]
    found = _directions(catalogue, [place for _, _, place in best])
    return [Similar(found[place], cosine, query) for cosine, query, place in best if place in found]


def duplicates(
    catalogue: Catalogue, home: Home, least: float, *, roi: str | None, model: str | None, limit: int
) -> list[Pair]:
    """Pairs of directions whose cosine is at least `least` in amount, the most alike first, at most `limit`.

    Raises `InputError` for a `least` outside [0.5, 1] and for more than `MOST_PAIRED` directions of one shape.
    """
    if not 0.5 <= least <= 1:
        raise InputError(f"duplicates: expected a cosine of 0.5 to 1, found {least:g}")
    model_id = None if model is None else catalogue.read(lambda s: queries.model_id(s, model), "")
    table = matrix(catalogue, home)
    # The sketch's cosine is off by about (1 - c^2) / sqrt(SKETCH): four of those, and rounding.
    margin = 4 * (1 - least**2) / SKETCH**0.5 + 0.001
    candidates: list[tuple[float, Place, Place]] = []
    for shape in table.shapes():
        numbers = table.rows(shape=shape, roi=roi, model=model_id)
        if len(numbers) > MOST_PAIRED:
            raise InputError(
                f"duplicates: expected up to {MOST_PAIRED} directions of one shape, found {len(numbers)}; "
                f"narrow them with --roi or --model"
            )
        candidates.extend(table.pairs(numbers, least - margin, 20 * limit))
    candidates.sort(key=lambda one: -one[0])
    candidates = candidates[: 20 * limit]
    exact = _exact(home, {place for _, *pair in candidates for place in pair})
    pairs = []
    for _, one, other in candidates:
        if one in exact and other in exact:
            cosine = float(_unit(exact[one][1][None])[0] @ _unit(exact[other][1][None])[0])
            if abs(cosine) >= least:
                pairs.append((cosine, one, other))
    pairs.sort(key=lambda one: (-abs(one[0]), one[1:]))
    pairs = pairs[:limit]
    found = _directions(catalogue, [place for _, *pair in pairs for place in pair])
    return [
        Pair(found[one], found[other], cosine) for cosine, one, other in pairs if {one, other} <= found.keys()
    ]


def principal_angles(one: NDArray[np.float32], other: NDArray[np.float32]) -> list[float]:
    """Angles in degrees between the spaces that vectors [n, ...] and [m, ...] span, the smallest first.

    By Björck and Golub (1973): cosines are the singular values of the product of orthonormal bases.
    """
    if one.shape[1:] != other.shape[1:]:
        raise InputError(
            f"principal angles: expected vectors of one shape, found {one.shape[1:]} and {other.shape[1:]}"
        )
    if not len(one) or not len(other):
        raise InputError("principal angles: a basis without directions spans nothing")
    q, p = (
        np.linalg.qr(vectors.reshape(len(vectors), -1).T.astype(np.float64))[0] for vectors in (one, other)
    )
    cosines = np.linalg.svd(q.T @ p, compute_uv=False)
    # Small angles are lost in their cosine; their sine is exact.
    sines = np.linalg.svd(
        p - q @ (q.T @ p) if p.shape[1] <= q.shape[1] else q - p @ (p.T @ q), compute_uv=False
    )
    by_sine = np.arcsin(np.clip(np.sort(sines)[: len(cosines)], 0, 1))
    by_cosine = np.arccos(np.clip(cosines, -1, 1))
    return [float(angle) for angle in np.degrees(np.where(cosines**2 > 0.5, by_sine, by_cosine))]


def _exact(home: Home, places: Iterable[Place]) -> dict[Place, tuple[str, NDArray[np.float32]]]:
    """Id and vector at each place, from the files; what cannot be read is left out."""
    by_basis: dict[str, list[int]] = {}
    for basis_id, row in places:
        by_basis.setdefault(basis_id, []).append(row)
    found = {}
    for basis_id, numbers in by_basis.items():
        try:
            holds(home, basis_id)
            ids, vectors = read_vectors(home.basis(basis_id))
        except StorageError:
            continue
        found.update({(basis_id, row): (ids[row], vectors[row]) for row in numbers if row in ids})
    return found


def _directions(catalogue: Catalogue, places: Sequence[Place]) -> dict[Place, Direction]:
    def work(session: Session) -> dict[Place, Direction]:
        ids = sorted({basis_id for basis_id, _ in places})
        wanted = set(places)
        query = select(DirectionRow).where(among(DirectionRow.basis_id, ids))
        return {
            (row.basis_id, row.row): rows.direction_of(row)
            for row in session.scalars(query)
            if (row.basis_id, row.row) in wanted
        }

    return catalogue.read(work, {}) if places else {}


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    return unit
