"""What the machinery costs: planning a million images, Prefect and catalogue against the bare loop, one worker or two.

    python benchmarks/machinery.py plan [IMAGES]       a dataset of that many rows, planned to its end; memory and time
    python benchmarks/machinery.py overhead [IMAGES]   `loco discover` against the bare loop, in turn
    python benchmarks/machinery.py workers [IMAGES]    two processes against one, one thread each
    python benchmarks/machinery.py apply [IMAGES] [RUNNER]   the same for `loco apply`: two against one, outputs
                                                       compared; by `processes`, `dask` or `ray`
    python benchmarks/machinery.py across [IMAGES]     directions of a dataset against a discovery on each of its
                                                       images: evaluations, seconds with one worker and two
    python benchmarks/machinery.py start               from the command to the first network evaluation

Each prints one JSON object. Absolute times belong to the machine; the ratios are what counts.
"""

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
MODEL = "zoo:faces32"
ROIS = ("mouth", "hair")


def memory() -> float:
    """Greatest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def loco(home: Path, *words: object) -> str:
    """Run the command line; returns its standard output."""
    environment = os.environ | {"LOCO_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli.main", *map(str, words)]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def prepare(folder: Path, images: int) -> Path:
    """A home with the embedded model and a dataset of rendered faces."""
    home = folder / "home"
    loco(home, "zoo", "render", "--out", folder / "faces", "--count", images, "--masks")
    loco(home, "model", "add", "faces", MODEL)
    loco(home, "dataset", "add", "faces", folder / "faces")
    return home


def plan(count: int) -> dict[str, object]:
    """Plan `count` images to the end, every chunk answered at once: time to the first chunk, memory, tasks."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run([sys.executable, __file__, "fill", folder, str(count)], check=True)
        import torch  # noqa: F401 (a part of the base)

        from flows.discover.image import DiscoverChunk, ImageOutcome
        from flows.jobs import DiscoverJob
        from flows.start import run_here
        from loco.recipes import DiscoverRecipe
        from registry.home import Home
        from registry.registry import Registry

        base, started, first, tasks = memory(), time.perf_counter(), 0.0, 0

        def work(chunk: DiscoverChunk) -> list[ImageOutcome]:
            nonlocal first, tasks
            first = first or time.perf_counter() - started
            tasks += 1
            return [
                ImageOutcome(
                    one.name, "skipped" if tasks > 4 else "done", evaluations=int(tasks <= 4), seconds=0.3
                )
                for one in chunk.images
            ]

        job = DiscoverJob("faces", "many", ("all=box:0,0,1,1",), DiscoverRecipe(t=0.4))
        run = run_here(Home(home), None, job, work=work)
        whole = time.perf_counter() - started
        assert run.counts["planned"] == count == run.counts["done"] + run.counts["skipped"]
        assert Registry(Home(home)).image_counts() == {"many": count}
        return {
            "images": count,
            "seconds_to_first_chunk": round(first, 2),
            "seconds_to_the_end": round(whole, 1),
            "tasks": tasks,
            "base_mb": round(base),
            "above_base_mb": round(memory() - base),
        }


def fill(home: Path, count: int) -> None:
    """A home whose dataset `many` has `count` images, in the catalogue only: nothing reads them."""
    from flows.register import model_record
    from registry.home import Home
    from registry.index.bulk import insert_rows
    from registry.index.tables import ImageRow
    from registry.records import DatasetRecord, now
    from registry.registry import Registry

    registry = Registry(Home(home))
    registry.add_model(model_record("faces", MODEL))
    registry.add_dataset(DatasetRecord("0" * 32, "many", str(home), None, now(), ()))
    for start in range(0, count, 50_000):
        rows = [
            {
                "dataset": "many",
                "position": k,
                "dataset_id": "0" * 32,
                "id": f"{k:064x}",
                "name": f"folder/{k:09d}.jpg",
                "width": 1024,
                "height": 1024,
            }
            for k in range(start, min(start + 50_000, count))
        ]
        registry.catalogue.write(lambda session, rows=rows: insert_rows(session, ImageRow, rows))  # type: ignore[misc]


def bare(home: Path, images: int) -> float:
    """Seconds of the plain loop over the same images: load the network, read, invert, discover; nothing kept."""
    started = time.perf_counter()
    import numpy as np
    import torch

    from flows.device.models import open_model
    from loco.diffusion.sampling import invert
    from loco.discover import discover
    from loco.folders import Folders, open_image
    from loco.images import to_model
    from loco.recipes import DiscoverRecipe
    from loco.rois.layouts import RoiSpec, resolve_roi
    from registry.home import Home
    from registry.registry import Registry

    registry = Registry(Home(home))
    model, dataset = registry.model("faces"), registry.dataset("faces")
    recipe = DiscoverRecipe(t=model.recommended_t or 0.5)
    denoiser = open_model(model, recipe.dtype)
    folders = Folders(Path(dataset.path), Path(str(dataset.masks)))
    records = dataset.images[:images]
    for start in range(0, len(records), 8):
        part = records[start : start + 8]
        pictures = [open_image(folders.root, one.name, one.id) for one in part]
        x0 = torch.from_numpy(np.stack([to_model(one.pixels, model.shape[1:]) for one in pictures]))
        x_t = invert(denoiser, x0, recipe.t, recipe.steps)
        for one, point in zip(part, x_t, strict=True):
            rois = [resolve_roi(RoiSpec(name), folders, one).fit(model.shape[1:]) for name in ROIS]
            discover(denoiser, point, rois, recipe, model=model.id, image_id=one.id, image_name=one.name)
    return time.perf_counter() - started


def overhead(images: int) -> dict[str, object]:
    """The run (its own clock: from its record's start to its end) against the bare loop, in turn, three times each."""
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), images)
        loco(home, "server", "start")
        try:
            loops, runs = [], []
            for turn in range(3):
                command = [sys.executable, __file__, "bare", str(home), str(images)]
                loops.append(
                    float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                )
                rois = [word for roi in ROIS for word in ("--roi", roi)]
                recipe = Path(folder) / f"{turn}.toml"
                recipe.write_text(f"seed = {turn}\n")  # another id, the same work
                ask = (
                    "--json",
                    "discover",
                    "--model",
                    "faces",
                    "--dataset",
                    "faces",
                    "--recipe",
                    recipe,
                    *rois,
                )
                begun = time.time()
                run = json.loads(loco(home, *ask))
                lines = (home / run["manifest"]).read_text().splitlines()
                runs.append((between(run), computing(lines), time.time() - begun))
        finally:
            loco(home, "server", "stop")
    bare_time = statistics.median(loops)
    run_time = statistics.median(one[0] for one in runs)
    inside = statistics.median(1 - one[1] / one[0] for one in runs)
    return {
        "images": images,
        "bare_seconds": [round(one, 2) for one in loops],
        "run_seconds": [round(one[0], 2) for one in runs],
        "command_seconds": [round(one[2], 2) for one in runs],
        "overhead_against_bare": round(run_time / bare_time - 1, 4),
        "share_of_the_run_outside_the_network": round(inside, 4),
    }


def between(run: dict[str, str]) -> float:
    """Seconds from a run's start to its end."""
    from datetime import datetime

    started, finished = (datetime.fromisoformat(run[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def computing(lines: list[str]) -> float:
    """Seconds that the images of a manifest were computed for."""
    return sum(float(json.loads(line).get("seconds", 0.0)) for line in lines)


def workers(images: int) -> dict[str, object]:
    """Images a second by the processes runner with one and with two workers, from the first chunk's return on."""
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), images)
        loco(home, "server", "start")
        rates: dict[int, list[float]] = {1: [], 2: []}
        try:
            for turn in range(4):
                count = 1 + turn % 2
                recipe = Path(folder) / f"{turn}.toml"
                recipe.write_text(f"seed = {turn}\n")
                words = (
                    "discover",
                    "--model",
                    "faces",
                    "--dataset",
                    "faces",
                    "--roi",
                    "mouth",
                    "--recipe",
                    recipe,
                )
                run = json.loads(loco(home, "--json", *words, "--runner", "processes", "--workers", count))
                rates[count].append(steady_rate(home, run["id"]))
        finally:
            loco(home, "server", "stop")
    one, two = max(rates[1]), max(rates[2])
    return {"images": images, "images_a_second": rates, "ratio": round(two / one, 2), "cores": os.cpu_count()}


def apply(images: int, runner: str) -> dict[str, object]:
    """Seconds that the network's chunks were at work, and bytes of outputs, with one and with two workers in turn.

    A run's own clock counts the start of its processes; what is compared is the time between first and last output.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), images)
        loco(home, "discover", "--model", "faces", "--dataset", "faces", "--roi", "mouth", "--limit", 1)
        [direction, *_] = map(json.loads, loco(home, "--json", "directions", "list").splitlines())
        rates: dict[int, list[float]] = {1: [], 2: []}
        outputs: list[dict[str, bytes]] = []
        try:
            for turn in range(4):
                count = 1 + turn % 2
                out = Path(folder) / f"out-{turn}"
                words = (
                    "apply",
                    "--direction",
                    f"{direction['id']}:4",
                    "--beyond",
                    "--cache",
                    0,
                    "--out",
                    out,
                )
                where = ("--images", Path(folder) / "faces", "--runner", runner, "--workers", count)
                loco(home, *words, *where)
                times = sorted(path.stat().st_mtime for path in out.glob("*__*"))
                rates[count].append((len(times) - 1) / (times[-1] - times[0]))
                outputs.append({path.name: path.read_bytes() for path in out.glob("*__*")})
        finally:
            loco(home, "server", "stop")
    return {
        "images": images,
        "runner": runner,
        "images_a_second": rates,
        "ratio": round(max(rates[2]) / max(rates[1]), 2),
        "identical": all(one == outputs[0] for one in outputs),
        "cores": os.cpu_count(),
    }


def across(images: int) -> dict[str, object]:
    """What a direction set of one region costs over all images together, and over each of them alone.

    Seconds are the runs' own, the start of their processes among them.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), images)
        loco(home, "server", "start")
        words = ("--json", "discover", "--model", "faces", "--dataset", "faces", "--roi", "mouth")
        found: dict[str, object] = {"images": images, "cores": os.cpu_count()}
        try:
            runs = {}
            for name, more in (("single", ()), ("across", ("--across",))):
                for count in (1, 2):
                    recipe = Path(folder) / f"{name}-{count}.toml"
                    recipe.write_text(f"seed = {count}\n")  # another id, the same work
                    where = ("--runner", "processes", "--workers", count, "--recipe", recipe)
                    run = json.loads(loco(home, *words, *where, *more))
                    runs[name, count] = run
                    found[f"{name}, {count} workers"] = {
                        "evaluations": run["counts"]["evaluations"],
                        "seconds": round(between(run), 1),
                        "seconds_an_image": round(between(run) / images, 3),
                    }
        finally:
            loco(home, "server", "stop")
    spent = {key: run["counts"]["evaluations"] for key, run in runs.items()}
    seconds = {key: between(run) for key, run in runs.items()}
    return found | {
        "evaluations_ratio": round(spent["across", 1] / spent["single", 1], 2),
        "across_two_workers_to_one": round(seconds["across", 1] / seconds["across", 2], 2),
        "seconds_to_single": round(seconds["across", 2] / seconds["single", 2], 2),
    }


def steady_rate(home: Path, run_id: str) -> float:
    """Images a second between the first and the last basis file of a run: starting the processes is not counted."""
    from registry.files.manifests import manifest_path, stream
    from registry.home import Home

    names = [
        line["basis_id"] for line in stream(manifest_path(Home(home), run_id)) if line["kind"] == "basis"
    ]
    times = sorted(Home(home).basis(name).stat().st_mtime for name in names)
    return (len(times) - 1) / (times[-1] - times[0])


def start() -> dict[str, object]:
    """Seconds from the command to the first basis file, less what that image was computed for."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), 4)
        try:
            for name in ("from_nothing", "with_server"):
                recipe = Path(folder) / f"{name}.toml"
                recipe.write_text(f"seed = {len(found)}\n")
                words = ("discover", "--model", "faces", "--dataset", "faces", "--roi", "mouth", "--limit", 1)
                begun = time.time()
                run = json.loads(loco(home, "--json", *words, "--recipe", recipe))
                [line] = [json.loads(one) for one in (home / run["manifest"]).read_text().splitlines()[1:-1]]
                written = (
                    (home / "bases" / line["basis_id"][:2] / f"{line['basis_id']}.safetensors")
                    .stat()
                    .st_mtime
                )
                found[name] = round(written - begun - line["seconds"], 2)
        finally:
            loco(home, "server", "stop")
    return {"seconds_to_first_evaluation": found}


def main() -> None:
    """Measure what the first argument says."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server that was started is stopped
    what, *rest = sys.argv[1:] or ["start"]
    match what:
        case "fill":
            fill(Path(rest[0]), int(rest[1]))
            return
        case "bare":
            print(bare(Path(rest[0]), int(rest[1])))
            return
        case "plan":
            result = plan(int(rest[0]) if rest else 1_000_000)
        case "overhead":
            result = overhead(int(rest[0]) if rest else 60)
        case "workers":
            result = workers(int(rest[0]) if rest else 60)
        case "apply":
            result = apply(int(rest[0]) if rest else 256, *(rest[1:] or ["processes"]))
        case "across":
            result = across(int(rest[0]) if rest else 64)
        case "start":
            result = start()
        case _:
            raise SystemExit(__doc__)
    print(json.dumps(result | {"load": [round(one, 1) for one in os.getloadavg()]}, indent=2))


if __name__ == "__main__":
    main()
