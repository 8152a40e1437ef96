"""Directions in the plane: the two main axes of all sketches (PCA), computed once for each state of the catalogue."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loco.ids import content_id
from registry.alike.matrix import Matrix, matrix, state_of
from registry.files.cache import Cache
from registry.home import Home
from registry.index import selection
from registry.index.selection import Filters
from registry.index.session import Catalogue
from registry.index.tables import DirectionRow

MOST = 20_000
"""Points that are shown."""

_BLOCK = 65_536


@dataclass(frozen=True)
class Point:
    """A direction's place, both coordinates from 0 to 1, and its region."""

    id: str
    roi: str
    x: float
    y: float


@dataclass(frozen=True)
class Plane:
    """Points, how many directions pass the filters in all, and the share of the variance that the two axes hold."""

    points: list[Point]
    total: int
    explained: float


def plane(catalogue: Catalogue, home: Home, filters: Filters) -> Plane:
    """The directions that pass the filters in the plane of all; of many an even part, chosen by their ids."""
    found = catalogue.read(lambda session: _chosen(session, filters), (0, list[tuple[str, int, str, str]]()))
    total, rows = found
    if not rows:
        return Plane([], total, 0.0)
    sketches = matrix(catalogue, home)
    places, explained = _places(catalogue, home, sketches)
    numbers = {
        (bytes(key).decode(), int(row)): n
        for n, (key, row) in enumerate(zip(sketches.ids, sketches.at, strict=True))
    }
    points = []
    for basis_id, row, key, roi in rows:
        number = numbers.get((basis_id, row))
        if number is not None:
            points.append(Point(key, roi, float(places[number, 0]), float(places[number, 1])))
    return Plane(points, total, explained)


def _chosen(session: Session, filters: Filters) -> tuple[int, list[tuple[str, int, str, str]]]:
    row = DirectionRow
    allowed = selection.conditions(session, filters)
    total = session.scalar(select(func.count()).select_from(row).where(*allowed)) or 0
    query = select(row.basis_id, row.row, row.id, row.roi).where(*allowed).order_by(row.id).limit(MOST)
    return total, [(one[0], one[1], one[2], one[3]) for one in session.execute(query)]


def _places(catalogue: Catalogue, home: Home, sketches: Matrix) -> tuple[NDArray[np.float32], float]:
    """Places [N, 2] in [0, 1] of all sketches in the matrix's order, and the share of the variance that they hold."""
    cache, key = Cache(home), content_id("plane", [1, state_of(catalogue)])
    known, count = cache.get(key), len(sketches.numbers)
    if known is None or known.shape != (count + 1, 2):
        known = _axes(sketches.numbers)
        cache.put(key, known)
    return np.asarray(known[:-1], np.float32), float(known[-1, 0])


def _axes(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same, with the share of the variance as a last row."""
    mean = np.asarray(numbers).mean(axis=0, dtype=np.float64)
    spread = np.zeros((len(mean), len(mean)))
    for start in range(0, len(numbers), _BLOCK):
        part = numbers[start : start + _BLOCK] - mean
        spread += part.T @ part
    values, vectors = np.linalg.eigh(spread)
    axes = vectors[:, [-1, -2]]
    axes *= np.where(
        axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1
    )  # either sign is an axis: one of them
    flat = (numbers - mean) @ axes
    low, high = flat.min(axis=0), flat.max(axis=0)
    share = values[-2:].sum() / values.sum() if values.sum() > 0 else 0.0
    placed = (flat - low) / np.where(high > low, high - low, 1)
    return np.vstack([placed, [share, 0]]).astype(np.float32)
