"""All sketches as one memory-mapped matrix beside the catalogue: HOME/cache/sketches-<state>/.

Rows are sorted by shape, model and region, so that a selection is a few runs of rows. The state in the folder's name
tells which set of basis files it was made from; another state means another folder, and older ones are deleted.
"""

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loco.errors import InputError, StorageError
from loco.files import making
from loco.outside import regular, regular_bytes
from registry.files.sketches import SKETCH
from registry.home import Home
from registry.index.bulk import read_sketches, to_arrow
from registry.index.session import Catalogue
from registry.index.tables import BasisRow, DirectionRow, SketchRow

_BLOCK = 65_536
_PAIR_BLOCK = 2_048

Shape = tuple[int, ...]
Place = tuple[str, int]


@dataclass(frozen=True)
class _Run:
    """Rows `start` to `stop` of the matrix: all directions of one shape, model and region."""

    shape: Shape
    model: str
    roi: str
    start: int
    stop: int


@dataclass(frozen=True)
class Matrix:
    """Sketches [N, SKETCH] float32, the places that they belong to, and the runs of rows that are alike."""

    numbers: NDArray[np.float32]
    ids: NDArray[np.bytes_]
    at: NDArray[np.int32]
    runs: tuple[_Run, ...]

    def shapes(self) -> list[Shape]:
        """All shapes of vectors, once each."""
        return sorted({run.shape for run in self.runs})

    def rows(self, *, shape: Shape, roi: str | None, model: str | None) -> NDArray[np.int64]:
        """The numbers of the rows of one shape, and of a region and model where given."""
        chosen = [np.arange(run.start, run.stop) for run in self._runs(shape, roi, model)]
        return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)

    def nearest(
        self, one: NDArray[np.float32], count: int, *, shape: Shape, roi: str | None, model: str | None
    ) -> list[Place]:
        """The places of the `count` sketches whose product with `one` is greatest in amount."""
        likeness, numbers = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
        for run in self._runs(shape, roi, model):
            for start in range(run.start, run.stop, _BLOCK):
                stop = min(start + _BLOCK, run.stop)
                found = np.abs(self.numbers[start:stop] @ one)
                best = (
                    np.argpartition(found, -count)[-count:] if len(found) > count else np.arange(len(found))
                )
                likeness.append(found[best])
                numbers.append(best + start)
        score, number = np.concatenate(likeness), np.concatenate(numbers)
        order = np.argsort(-score, kind="stable")[:count]
        return [self.place(int(number[one])) for one in order]

    def pairs(self, numbers: NDArray[np.int64], least: float, most: int) -> list[tuple[float, Place, Place]]:
        """The (at most `most`) pairs among rows whose sketches' product is at least `least` in amount."""
        sketches = np.asarray(self.numbers[numbers])
        found: list[tuple[float, int, int]] = []
        for start in range(0, len(numbers), _PAIR_BLOCK):
            product = sketches[start : start + _PAIR_BLOCK] @ sketches[start:].T
            product[np.tril_indices(len(product), m=product.shape[1])] = 0
            one, other = np.nonzero(np.abs(product) >= least)
            values = np.abs(product[one, other])
            best = np.argpartition(values, -most)[-most:] if len(values) > most else np.arange(len(values))
            found.extend((float(values[n]), int(one[n]) + start, int(other[n]) + start) for n in best)
            found = sorted(found, reverse=True)[:most]
        return [(value, self.place(int(numbers[a])), self.place(int(numbers[b]))) for value, a, b in found]

    def place(self, number: int) -> Place:
        """Basis id and row of one row of the matrix."""
        return bytes(self.ids[number]).decode(), int(self.at[number])

    def _runs(self, shape: Shape, roi: str | None, model: str | None) -> list[_Run]:
        return [
            run
            for run in self.runs
            if run.shape == shape and roi in (None, run.roi) and model in (None, run.model)
        ]


def matrix(catalogue: Catalogue, home: Home) -> Matrix:
    """The matrix of the catalogue as it is now, made where it is not there yet; in memory where it cannot be kept."""
    state = catalogue.read(_state, "")
    folder = home.cache / f"sketches-{state}"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _open(folder)
    state, (numbers, ids, at, runs) = catalogue.read(_content, (state, _nothing()))
    with contextlib.suppress(StorageError, OSError):
        _keep(home.cache / f"sketches-{state}", numbers, ids, at, runs)
    return Matrix(numbers, ids, at, _runs_of(runs))


def state_of(catalogue: Catalogue) -> str:
    """The set of basis files that the catalogue knows, in a few characters."""
    return catalogue.read(_state, "")


def stale(catalogue: Catalogue, home: Home) -> list[Path]:
    """Matrices of sets of bases that are not the catalogue's any more."""
    keep = f"sketches-{catalogue.read(_state, '')}"
    return sorted(path for path in home.cache.glob("sketches-*") if path.name != keep)


def damaged(catalogue: Catalogue, home: Home) -> list[Path]:
    """The catalogue's matrix, if it is there and has other numbers than the catalogue."""
    state = catalogue.read(_state, "")
    if not (home.cache / f"sketches-{state}").is_dir():
        return []
    state, (numbers, ids, at, runs) = catalogue.read(_content, (state, _nothing()))
    folder = home.cache / f"sketches-{state}"
    if not folder.is_dir():  # somebody wrote in between
        return []
    try:
        found, told = _open(folder), json.loads(regular_bytes(folder / "runs.json"))
        equal = all(
            np.array_equal(one, other)
            for one, other in ((numbers, found.numbers), (ids, found.ids), (at, found.at))
        )
    except (OSError, ValueError, KeyError, TypeError):
        equal, told = False, None
    return [] if equal and told == json.loads(json.dumps(runs)) else [folder]


def _state(session: Session) -> str:
    """The set of basis files that the catalogue knows, in a few characters."""
    count, mark = session.execute(
        select(func.count(), func.bit_xor(BasisRow.mark)).select_from(BasisRow)
    ).one()
    sketched = session.scalar(select(func.count()).select_from(SketchRow))
    return f"{count}-{sketched}-{mark or 0:015x}-{SKETCH}"


def _content(session: Session) -> tuple[str, tuple[Any, Any, Any, list[dict[str, Any]]]]:
    """The state and the content that belongs to it, of one moment: others write between two transactions."""
    return _state(session), _gather(session)


def _open(folder: Path) -> Matrix:
    runs = json.loads(regular_bytes(folder / "runs.json"))
    arrays = {name: _array(folder / f"{name}.npy") for name in ("numbers", "ids", "at")}
    return Matrix(**arrays, runs=_runs_of(runs))


def _array(path: Path) -> NDArray[Any]:
    with regular(path):  # a named pipe would never end
        return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))


def _runs_of(told: list[dict[str, Any]]) -> tuple[_Run, ...]:
    return tuple(
        _Run(tuple(one["shape"]), one["model"], one["roi"], one["start"], one["stop"]) for one in told
    )


def _keep(folder: Path, numbers: Any, ids: Any, at: Any, runs: list[dict[str, Any]]) -> None:
    """Write the matrix beside, then give it its name; other states' matrices go."""
    with contextlib.suppress(InputError), making(folder, settle=False) as partial:  # someone else was quicker
        for name, array in (("numbers", numbers), ("ids", ids), ("at", at)):
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        (partial / "runs.json").write_text(json.dumps(runs))
        shutil.rmtree(folder, ignore_errors=True)
    for other in folder.parent.glob("sketches-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _nothing() -> tuple[Any, Any, Any, list[dict[str, Any]]]:
    return np.zeros((0, SKETCH), np.float32), np.zeros(0, "S32"), np.zeros(0, np.int32), []


def _gather(session: Session) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
    """Sketches of all shown directions, sorted by shape, model and region, and the runs."""
    row = DirectionRow
    columns = (row.channels, row.height, row.width, row.model, row.roi)
    query = select(row.basis_id, row.row, *columns).where(row.shown).order_by(*columns, row.basis_id, row.row)
    table = to_arrow(session, query)
    if not table.num_rows:
        return _nothing()
    ids = np.asarray(table["basis_id"].to_numpy(zero_copy_only=False)).astype("S32")
    at = table["row"].to_numpy().astype(np.int32)
    sketch_ids, sketch_at, sketches = read_sketches(session)
    # Both sides by place: the sketches' order is nobody's business.
    mine, theirs = _places(ids, at), _places(sketch_ids, sketch_at)
    order = np.argsort(theirs, kind="stable")
    found = np.clip(np.searchsorted(theirs, mine, sorter=order), 0, max(len(theirs) - 1, 0))
    present = theirs[order[found]] == mine if len(theirs) else np.zeros(len(mine), bool)
    kept = np.flatnonzero(present)
    numbers = sketches[order[found[kept]]] if len(kept) else np.zeros((0, SKETCH), np.float32)
    keys = list(zip(*(table[column.key].to_pylist() for column in columns), strict=True))
    runs: list[dict[str, Any]] = []
    for number, which in enumerate(kept):
        *shape, model, roi = keys[which]
        if runs and (runs[-1]["shape"], runs[-1]["model"], runs[-1]["roi"]) == (shape, model, roi):
            runs[-1]["stop"] = number + 1
        else:
            runs.append({"shape": shape, "model": model, "roi": roi, "start": number, "stop": number + 1})
    return numbers, ids[kept], at[kept], runs


def _places(ids: NDArray[np.bytes_], at: NDArray[np.int32]) -> NDArray[np.bytes_]:
    """Basis id and row as one sortable value each."""
    out = np.zeros(len(ids), dtype=[("id", "S32"), ("row", ">u4")])
    out["id"], out["row"] = ids, at
    # As plain bytes of one width; numpy strips zeros at the end only, which no two values share wrongly.
    return out.view("S36").reshape(-1)
