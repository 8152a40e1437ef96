"""The catalogue at size: listing, similarity and bulk ingest, each beside the bare database statement.

Makes a home with N directions in N / 10 bases: real basis files (vectors of 3 x 16 x 16 in families that resemble each
other), real rows. Prints one JSON object; ratios carry over to other machines, absolute times do not.

    python benchmarks/catalogue.py [DIRECTIONS] [HOME]
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from loco.direction import Basis, Direction, RoiMask, basis_id, direction_id
from loco.ids import bytes_id, content_id
from loco.recipes import DiscoverRecipe
from registry.alike import matrix
from registry.alike.similar import _exact, _unit
from registry.files.basis import read_entry
from registry.files.basis_bytes import encode
from registry.files.sketches import SKETCH, sketch
from registry.home import Home
from registry.index import rows
from registry.index.tables import BasisRow, DirectionRow, RoiRow, SketchRow
from registry.registry import Registry

PER_BASIS, SHAPE = 10, (3, 16, 16)
ROIS = ("mouth", "eyes", "hair", "nose", "skin")
MODELS = tuple(content_id("model", name) for name in ("one", "two", "three"))
MEMBERS = 100
"""Directions of one family, whatever the size: what is looked for has its like."""
FILTERS: dict[str, Any] = {"roi": "mouth", "t": (0.5, 0.7), "max_leakage": 0.05, "limit": 20}
STATEMENT = (
    "SELECT * FROM directions WHERE shown AND roi = 'mouth' AND t BETWEEN 0.5 AND 0.7 AND leakage <= 0.05 "
    "ORDER BY gain DESC, id LIMIT 20"
)
CHUNK = 10_000
TABLES = [table.__tablename__ for table in (BasisRow, RoiRow, DirectionRow, SketchRow)]


def bases(count: int) -> Iterator[Basis]:
    """`count` bases: each direction is one of its region's families with noise of its own."""
    random = np.random.default_rng(0)
    size = int(np.prod(SHAPE))
    kinds = max(1, count * PER_BASIS // (len(ROIS) * MEMBERS))
    families = random.standard_normal((len(ROIS), kinds, size)).astype(np.float32)
    masks = tuple(
        RoiMask(content_id("roi", name), name, "benchmark", np.eye(16, k=number, dtype=bool))
        for number, name in enumerate(ROIS)
    )
    for number in range(count):
        recipe = DiscoverRecipe(t=round(0.05 * (1 + number % 18), 2), rank=2)
        model, image = MODELS[number % 3], bytes_id(str(number).encode())
        key = basis_id(model, image, recipe, tuple(roi.id for roi in masks))
        which = random.integers(0, kinds, PER_BASIS)
        noise = random.uniform(0.2, 1.5, (PER_BASIS, 1)) * random.standard_normal((PER_BASIS, size))
        vectors = families[np.arange(PER_BASIS) // 2, which] + noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        figures = random.random((PER_BASIS, 4))
        directions = tuple(
            Direction(
                id=direction_id(model, image, recipe, masks[row // 2].id, row % 2),
                basis_id=key,
                row=row,
                index=row % 2,
                model=model,
                image_id=image,
                roi=ROIS[row // 2],
                roi_id=masks[row // 2].id,
                roi_area=0.0625,
                t=recipe.t,
                step=int(recipe.t * 1000),
                shape=SHAPE,
                singular_value=float(figures[row, 0] * 10),
                residual=0.001,
                converged=True,
                gain=float(figures[row, 1] * 10),
                leakage=float(figures[row, 2]),
                retained=float(figures[row, 3]),
            )
            for row in range(PER_BASIS)
        )
        yield Basis(
            key, model, image, f"{number}.png", recipe, masks, directions,
            vectors.reshape(PER_BASIS, *SHAPE).astype(np.float32),
        )  # fmt: skip


def timed(work: Callable[[], Any], times: int = 7) -> dict[str, float]:
    """Milliseconds of `work`, warm: median and best."""
    work()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return {"median_ms": round(statistics.median(taken), 1), "best_ms": round(min(taken), 1)}


def fill(registry: Registry, count: int) -> dict[str, float]:
    """Files, then rows; what is timed is rows alone, from what the files say."""
    writing = indexing = 0.0
    for part in rows.chunks(bases(count), CHUNK):
        begun = time.perf_counter()
        entries = []
        for basis in part:
            path = registry.home.basis(basis.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(basis))  # without waiting for the disk each time, as a flow would
            entries.append(read_entry(path))
        writing += time.perf_counter() - begun
        begun = time.perf_counter()
        registry.catalogue.write(partial(rows.put_bases, entries=entries))
        indexing += time.perf_counter() - begun
    return {
        "files_s": round(writing, 1),
        "rows_s": round(indexing, 1),
        "rows_per_s": round(count * PER_BASIS / indexing),
    }


def refill(registry: Registry, folder: Path) -> dict[str, float]:
    """The last chunk's rows dropped and put again, by us and by bare statements, into files of one size.

    The bare statements go into a copy of the catalogue without those rows, and into an empty one: what a commit costs
    depends on what stands in the file.
    """
    paths = sorted(registry.home.bases.glob("*/*.safetensors"))[-CHUNK:]
    ids = [path.stem for path in paths]
    entries = [read_entry(path) for path in paths]
    chunk = arrow(registry.home, ids)
    registry.catalogue.write(lambda session: rows.drop_bases(session, ids))
    full, empty = folder / "bare-full.duckdb", folder / "bare-empty.duckdb"
    shutil.copy(registry.home.catalogue, full)
    tables(registry.home, empty)
    try:
        begun = time.perf_counter()
        registry.catalogue.write(lambda session: rows.put_bases(session, entries))
        ours = time.perf_counter() - begun
        alike, first = bare_ingest(full, chunk), bare_ingest(empty, chunk)
    finally:
        full.unlink(missing_ok=True)
        empty.unlink(missing_ok=True)
    count = chunk["directions"].num_rows
    return {
        "rows_per_s": round(count / ours),
        "bare_rows_per_s": round(count / alike),
        "ratio": round(ours / alike, 2),
        "ratio_to_an_empty_file": round(ours / first, 2),
    }


def arrow(home: Home, ids: list[str]) -> dict[str, Any]:
    """The rows of these bases, by table."""
    listed = ",".join(f"'{one}'" for one in ids)
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        return {
            name: connection.execute(
                f"SELECT * FROM {name} WHERE {'id' if name == 'bases' else 'basis_id'} IN ({listed})"
            ).to_arrow_table()
            for name in TABLES
        }


def tables(home: Home, target: Path) -> None:
    """A new file with the same tables, empty."""
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        ddl = dict(connection.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall())
    with duckdb.connect(str(target)) as connection:
        for name in TABLES:
            connection.execute(ddl[name])


def bare_ingest(target: Path, chunk: dict[str, Any]) -> float:
    """Seconds of the bare statements: the same rows from Arrow in one transaction, the file opened and closed."""
    begun = time.perf_counter()
    with duckdb.connect(str(target)) as connection:
        connection.begin()
        for name, table in chunk.items():
            connection.register("chunk", table)
            connection.execute(f"INSERT INTO {name} SELECT * FROM chunk")
            connection.unregister("chunk")
        connection.commit()
    return time.perf_counter() - begun


def bare_list(home: Home) -> None:
    """The bare statement as a process would do it: open, ask, close."""
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        connection.execute(STATEMENT).fetchall()


def bare_similar(home: Home, one: list[float]) -> None:
    """The bare statement that the ten nearest sketches are, without what makes their order exact."""
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        connection.execute(
            f"SELECT basis_id, row FROM sketches "
            f"ORDER BY abs(array_inner_product(sketch, CAST(? AS FLOAT[{SKETCH}]))) DESC LIMIT 10",
            [one],
        ).fetchall()


def command(home: Home) -> float:
    """Seconds of the whole command."""
    words = [
        "directions",
        "list",
        "--roi",
        "mouth",
        "--t",
        "0.5..0.7",
        "--max-leakage",
        "0.05",
        "--limit",
        "20",
    ]
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cli.main", "--home", str(home.root), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    return time.perf_counter() - begun


def recall(registry: Registry, queries: int) -> float:
    """Fraction of the exact ten nearest that `similar` finds, over all vectors of all files."""
    targets = registry.find(where="leakage < 0.01", sort="id", limit=queries)
    wanted = np.stack([_unit(registry.vectors([one]))[0] for one in targets]).astype(np.float32)
    best: list[list[tuple[float, str]]] = [[] for _ in targets]
    for part in rows.chunks(sorted(registry.home.bases.glob("*/*.safetensors")), 5_000):
        exact = _exact(registry.home, [(path.stem, row) for path in part for row in range(PER_BASIS)])
        ids = [key for key, _ in exact.values()]
        cosines = np.abs(wanted @ np.stack([vector.reshape(-1) for _, vector in exact.values()]).T)
        for number, line in enumerate(cosines):
            top = np.argpartition(line, -11)[-11:]
            best[number] = sorted([*best[number], *((float(line[n]), ids[n]) for n in top)], reverse=True)[
                :11
            ]
    hits = 0
    for target, found in zip(targets, best, strict=True):
        true = [key for _, key in found if key != target.id][:10]
        hits += len(set(true) & {one.direction.id for one in registry.similar(target.id)})
    return hits / (10 * len(targets))


def server_figures(registry: Registry) -> dict[str, Any]:
    """The same on a PostgreSQL server of our own, with its usual safety."""
    from tests.postgres import server

    with server(safe=True) as url:
        begun = time.perf_counter()
        counts = registry.copy_to(url)
        copied = time.perf_counter() - begun
        shared = Registry(registry.home, url)
        target = shared.find(roi="mouth", limit=1)[0]
        return {
            "copy_rows_per_s": round(counts["directions"] / copied),
            "list": timed(lambda: shared.find(**FILTERS)),
            "similar": timed(lambda: shared.similar(target.id)),
        }


def main(count: int, root: Path) -> dict[str, Any]:
    """Measure with `count` directions in the home `root`."""
    registry = Registry(Home(root))
    begun_load = os.getloadavg()[0]
    filled = None if registry.home.catalogue.exists() else fill(registry, count // PER_BASIS)
    ingest = sorted((refill(registry, root) for _ in range(3)), key=itemgetter("ratio"))[1]
    target = registry.find(roi="mouth", limit=1)[0]

    assert len(registry.find(**FILTERS)) == min(20, registry.count(**FILTERS))
    listing, statement = (
        timed(lambda: registry.find(**FILTERS), 15),
        timed(lambda: bare_list(registry.home), 15),
    )
    begun = time.perf_counter()
    matrix.matrix(registry.catalogue, registry.home)
    made = time.perf_counter() - begun
    similar = timed(lambda: registry.similar(target.id), 15)
    asked = sketch(registry.vectors([target]))[0].tolist()
    nearest = timed(lambda: bare_similar(registry.home, asked), 15)
    result: dict[str, Any] = {
        "directions": registry.count(status="all"),
        "bases": registry.summary()["bases"],
        "cpus": os.cpu_count(),
        "load_at_start": round(begun_load, 1),
        "load_at_end": round(os.getloadavg()[0], 1),
        "catalogue_mb": round(registry.home.catalogue.stat().st_size / 1e6),
        "filled": filled,
        "ingest": ingest,
        "list": {**listing, "bare": statement, "ratio": round(listing["best_ms"] / statement["best_ms"], 2)},
        "command_s": round(min(command(registry.home) for _ in range(3)), 2),
        "similar": {
            **similar,
            "bare": nearest,
            "ratio": round(similar["best_ms"] / nearest["best_ms"], 2),
            "matrix_made_s": round(made, 1),
            "recall_at_10": round(recall(registry, 20), 3),
        },
    }
    print(json.dumps(result), file=sys.stderr, flush=True)
    result["postgresql"] = server_figures(registry)
    return result


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="loco-registry-"))
    try:
        print(json.dumps(main(number, place), indent=2))
    finally:
        if len(sys.argv) <= 2:
            shutil.rmtree(place, ignore_errors=True)
