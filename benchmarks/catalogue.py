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
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from loco.direction import Basis, Direction, RoiMask, basis_id, direction_id
from loco.ids import bytes_id, content_id
from loco.recipes import DiscoverRecipe
from registry import matrix, rows
from registry.home import Home
from registry.registry import Registry
from registry.similar import _exact, _unit
from registry.store import encode, read_entry
from registry.tables import BasisRow, DirectionRow, RoiRow, SketchRow

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
        registry.catalogue.write(lambda session, entries=entries: rows.put_bases(session, entries))
        indexing += time.perf_counter() - begun
    return {
        "files_s": round(writing, 1),
        "rows_s": round(indexing, 1),
        "rows_per_s": round(count * PER_BASIS / indexing),
    }


def bare_ingest(home: Home, folder: Path) -> float:
    """Rows a second of the bare statements: the same tables, the same chunks, from Arrow."""
    source = duckdb.connect(str(home.catalogue), read_only=True)
    target = folder / "bare.duckdb"
    names = [table.__tablename__ for table in (BasisRow, RoiRow, DirectionRow, SketchRow)]
    ddl = dict(source.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall())
    with duckdb.connect(str(target)) as connection:
        for name in names:
            connection.execute(ddl[name])
    ids = [one for (one,) in source.execute("SELECT id FROM bases").fetchall()]
    spent, total = 0.0, 0
    for part in rows.chunks(ids, CHUNK):
        chunk = {}
        for name in names:
            column = "id" if name == "bases" else "basis_id"
            listed = ",".join(f"'{one}'" for one in part)
            chunk[name] = source.execute(
                f"SELECT * FROM {name} WHERE {column} IN ({listed})"
            ).to_arrow_table()
        begun = time.perf_counter()
        with duckdb.connect(str(target)) as connection:
            connection.begin()
            for name, table in chunk.items():
                connection.register("chunk", table)
                connection.execute(f"INSERT INTO {name} SELECT * FROM chunk")
                connection.unregister("chunk")
            connection.commit()
        spent += time.perf_counter() - begun
        total += chunk["directions"].num_rows
        if total >= 100_000:
            break
    source.close()
    return total / spent


def bare_list(home: Home) -> None:
    """The bare statement as a process would do it: open, ask, close."""
    with duckdb.connect(str(home.catalogue), read_only=True) as connection:
        connection.execute(STATEMENT).fetchall()


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
        target = shared.find(limit=1, **{"roi": "mouth"})[0]
        return {
            "copy_rows_per_s": round(counts["directions"] / copied),
            "list": timed(lambda: shared.find(**FILTERS)),
            "similar": timed(lambda: shared.similar(target.id)),
        }


def main(count: int, root: Path) -> dict[str, Any]:
    """Measure with `count` directions in the home `root`."""
    registry = Registry(Home(root))
    begun_load = os.getloadavg()[0]
    ingest: dict[str, Any] = (
        dict(fill(registry, count // PER_BASIS)) if not registry.home.catalogue.exists() else {}
    )
    bare = bare_ingest(registry.home, root)
    (root / "bare.duckdb").unlink(missing_ok=True)
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
    result: dict[str, Any] = {
        "directions": registry.count(status="all"),
        "bases": registry.summary()["bases"],
        "cpus": os.cpu_count(),
        "load_at_start": round(begun_load, 1),
        "load_at_end": round(os.getloadavg()[0], 1),
        "catalogue_mb": round(registry.home.catalogue.stat().st_size / 1e6),
        "ingest": {**ingest, "bare_rows_per_s": round(bare)},
        "list": {**listing, "bare": statement, "ratio": round(listing["best_ms"] / statement["best_ms"], 2)},
        "command_s": round(min(command(registry.home) for _ in range(3)), 2),
        "similar": {
            **similar,
            "matrix_made_s": round(made, 1),
            "recall_at_10": round(recall(registry, 20), 3),
        },
    }
    if "rows_per_s" in ingest:
        result["ingest"]["ratio"] = round(bare / ingest["rows_per_s"], 2)
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
