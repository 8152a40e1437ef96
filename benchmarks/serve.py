"""The served catalogue at size: pages, filters, facets and positions over HTTP, each beside a bare SELECT.

Makes a home with N directions (or takes the one that is named), serves it in a process of its own and asks as a page
does.
With a home that has a model, as the demonstration's, it measures the preview and the exact render too, beside a bare
forward pass. Prints one JSON object; ratios carry over to other machines, absolute times do not.

    python benchmarks/serve.py [DIRECTIONS] [HOME] [HOME_WITH_A_MODEL]
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import httpx
from catalogue import PER_BASIS, fill, timed

from registry.home import Home
from registry.registry import Registry

ROOT = Path(__file__).parents[1]
_ORDER = "ORDER BY scope, gain DESC, id"

ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "first page": ("/directions", {"limit": 48}, f"SELECT * FROM directions WHERE shown {_ORDER} LIMIT 48"),
    "position 90,000": (
        "/directions",
        {"limit": 48, "start": 90_000},
        f"SELECT * FROM directions WHERE shown {_ORDER} LIMIT 48 OFFSET 90000",
    ),
    "region": (
        "/directions",
        {"limit": 48, "roi": "mouth"},
        f"SELECT * FROM directions WHERE shown AND roi = 'mouth' {_ORDER} LIMIT 48",
    ),
    "several filters": (
        "/directions",
        {"limit": 48, "roi": "mouth", "t": "0.5..0.7", "max_leakage": 0.05, "sort": "leakage"},
        "SELECT * FROM directions WHERE shown AND roi = 'mouth' AND t BETWEEN 0.5 AND 0.7 AND leakage <= 0.05 "
        "ORDER BY leakage, id LIMIT 48",
    ),
    "any condition": (
        "/directions",
        {"limit": 48, "where": "gain > 4 and not (roi in ('hair', 'mouth') or leakage > 0.1)"},
        "SELECT * FROM directions WHERE shown AND gain > 4 AND NOT (roi IN ('hair', 'mouth') OR leakage > 0.1) "
        f"{_ORDER} LIMIT 48",
    ),
    "text": (
        "/directions",
        {"limit": 48, "text": "mou"},
        f"SELECT * FROM directions WHERE shown AND contains(lower(roi), 'mou') {_ORDER} LIMIT 48",
    ),
    "facets": ("/facets", {}, "SELECT roi, count(*) FROM directions WHERE shown GROUP BY roi"),
    "facets of a region": (
        "/facets",
        {"roi": "mouth"},
        "SELECT t, count(*) FROM directions WHERE shown AND roi = 'mouth' GROUP BY t",
    ),
}
"""What is asked: the path, its parameters, and the bare statement that a part of it is."""


@contextmanager
def served(home: Path) -> Iterator[httpx.Client]:
    """The home, served by a process of its own."""
    words = [sys.executable, "-m", "cli.main", "--home", str(home), "--json", "serve", "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with httpx.Client(base_url=f"{told['url']}api/v1", trust_env=False, timeout=120) as client:
            yield client
        process.send_signal(signal.SIGINT)


def bare(home: Path, statement: str) -> None:
    """The bare statement as a process would do it: open, ask, close."""
    with duckdb.connect(str(Home(home).catalogue), read_only=True) as connection:
        connection.execute(statement).fetchall()


def ask(client: httpx.Client, path: str, params: dict[str, Any]) -> Any:
    """The answer, which must be one."""
    return client.get(path, params=params).raise_for_status()


def compared(work: Callable[[], Any], other: Callable[[], Any]) -> dict[str, Any]:
    """Milliseconds of both, and the ratio of the best."""
    one, two = timed(work, 9), timed(other, 9)
    return {**one, "bare": two, "ratio": round(one["best_ms"] / two["best_ms"], 1)}


def pictures(home: Path) -> dict[str, Any]:
    """Preview and exact render on the home's own model, beside one forward pass."""
    import torch

    from flows.device.models import open_fast

    registry = Registry(Home(home))
    several = registry.find(scope="image", limit=6)
    one = several[0]
    denoiser = open_fast(registry.models()[0], "float32")
    x = torch.zeros((1, *denoiser.shape))

    def forward() -> None:
        with torch.no_grad():
            denoiser.posterior_mean(x, one.t)

    with served(home) as client:
        ask(client, "/previews", {"image": one.image_id, "direction": one.id})
        numbers = iter(range(1, 10_000))

        def render() -> None:  # another strength each time: what is asked again is not rendered again
            mix = f"{one.id}:{1 + next(numbers) / 1000}"
            ask(client, "/render.png", {"image": one.image_id, "mix": mix})

        begun = time.perf_counter()
        for other in several[1:]:
            ask(client, "/previews", {"image": one.image_id, "direction": other.id})
        fresh = (time.perf_counter() - begun) / max(1, len(several) - 1)
        again = partial(ask, client, "/previews", {"image": one.image_id, "direction": one.id})
        return {
            "preview again": compared(again, forward),
            "preview of a direction that was not asked for before, ms": round(fresh * 1000, 1),
            "exact render": compared(render, forward),
        }


def main(count: int, root: Path, modelled: Path | None) -> dict[str, Any]:
    """Measure with `count` directions in the home `root`."""
    registry = Registry(Home(root))
    if not registry.home.catalogue.exists():
        fill(registry, count // PER_BASIS)
    result: dict[str, Any] = {
        "directions": registry.count(status="all"),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    with served(root) as client:
        for name, (path, params, statement) in ASKED.items():
            result[name] = compared(partial(ask, client, path, params), partial(bare, root, statement))
    if modelled is not None:
        result["pictures"] = pictures(modelled)
    return result


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="loco-serve-"))
    model = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    try:
        print(json.dumps(main(number, place, model), indent=2))
    finally:
        if len(sys.argv) <= 2:
            shutil.rmtree(place, ignore_errors=True)
