"""What `--steps auto` gives: `loco apply` at its default against 20 steps, which was the default before, side by side.

A mouth direction of the embedded model on rendered faces, no cache: images a second of processor time, what the
measurement of the steps costs included, and the PSNR of the outputs against those of 60 steps.

    python benchmarks/steps.py [FACES] [STRENGTH]
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from flows.jobs import ApplyJob, DiscoverJob
from flows.register import dataset_record, model_record
from flows.start import run_here
from flows.studies.demo import NAME, SEED, STEPS
from loco.images import read_image
from loco.measure.metrics import psnr
from loco.recipes import DiscoverRecipe
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry

TRUTH = 60


def main(count: int, strength: float) -> None:
    """Measure and print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home, faces = Home(root / "home"), root / "faces"
        registry = Registry(home)
        model = model_record(NAME, "zoo:faces32")
        registry.add_model(model)
        for _ in write_scenes(faces, SEED, count, model.shape[1], ("mouth",)):
            pass
        registry.add_dataset(dataset_record(NAME, faces))
        recipe = DiscoverRecipe(t=model.recommended_t or 0.5, steps=STEPS, rank=1)
        run_here(home, None, DiscoverJob(NAME, NAME, ("mouth",), recipe, 1))
        [direction] = registry.find(roi="mouth", limit=1)
        result: dict[str, object] = {"faces": count, "strength": strength}
        rates: dict[str, list[float]] = {"default": [], "20": []}
        for turn, steps in enumerate((None, 20, None, 20, TRUTH)):
            out = root / (str(steps) if steps == TRUTH else f"{steps or 'default'}-{turn}")
            if steps is None:
                for one in (home.root / "steps").glob("*"):
                    one.unlink()  # it is measured each time
            job = ApplyJob(
                ((direction.id, 1.0),), (strength,), out, dataset=NAME, steps=steps, cache=0, beyond=True
            )
            began = time.process_time()
            run = run_here(home, None, job)
            if steps != TRUTH:
                rates[str(steps or "default")].append(count / (time.process_time() - began))
            if steps is None:
                result |= {"steps": run.spec["steps"], "measuring": run.counts["measuring"]}
        for name, rate in rates.items():
            result[f"images a second, {name}"] = [round(one, 2) for one in rate]
        result["ratio"] = round(max(rates["default"]) / max(rates["20"]), 2)
        near = [
            psnr(
                read_image(one).pixels.astype(float),
                read_image(root / "60" / one.name).pixels.astype(float),
                255,
            )
            for one in sorted((root / "default-0").glob("*__*.png"))
        ]
        result |= {"median dB": round(statistics.median(near), 1), "worst dB": round(min(near), 1)}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 128, float(sys.argv[2]) if len(sys.argv) > 2 else 4.0)
