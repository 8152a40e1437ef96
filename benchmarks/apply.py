"""Fidelity of edits on the embedded model: what changes outside the region, and what fewer evaluations cost.

The demonstration's faces, regions, choice of directions and strengths. First the PSNR of edited against input outside
the target's own mask, unconfined and confined to it; then, for each number of steps and each solver, how near the
change is to that of 60 steps and what an image costs. `loco bench apply` measures speed.

    python benchmarks/apply.py [FACES] [SOURCES]
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.device.models import open_fast
from flows.jobs import ApplyJob, DiscoverJob
from flows.pictures.strength import suited_strength
from flows.register import dataset_record, model_record
from flows.start import run_here
from flows.studies.demo import NAME, ROIS, SEED, STEPS, choose
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import sample
from loco.direction import Direction
from loco.edit import change
from loco.images import read_image, to_model
from loco.inversion import invert
from loco.measure.metrics import psnr
from loco.recipes import DiscoverRecipe
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry

TRUTH = 60


def outside(home: Home, faces: Path, root: Path, direction: Direction, confine: str | None) -> list[float]:
    """PSNR in dB outside each face's own mask, both signs."""
    strength = suited_strength(direction)
    out = root / f"{direction.roi}-{confine}"
    job = ApplyJob(
        ((direction.id, 1.0),),
        (-strength, 0.0, strength),
        out,
        dataset=NAME,
        steps=STEPS,
        confine=confine,
        beyond=True,
    )
    run_here(home, None, job)
    found = []
    for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines()):
        if line["status"] == "failed":
            continue
        before = read_image(faces / line["image_name"]).pixels
        after = read_image(out / line["output"]).pixels
        if line["strength"] == 0:
            assert np.array_equal(before, after), "strength 0 must give back the input"
            continue
        rest = read_image(faces / "masks" / direction.roi / line["image_name"]).pixels[..., 0] == 0
        found.append(psnr(after[rest].astype(float), before[rest].astype(float), span=255))
    return found


def curve(
    network: Denoiser, x0: torch.Tensor, t: float, vector: torch.Tensor, strength: float
) -> list[dict[str, Any]]:
    """Change and reconstruction by steps and solver, against many steps."""
    moved = strength * vector
    with torch.inference_mode():
        truth = change(network, invert(network, x0, t, TRUTH), moved)

        def near(one: torch.Tensor, other: torch.Tensor) -> float:
            pairs = zip(one.numpy(), other.numpy(), strict=True)
            return round(statistics.median(psnr(a, b) for a, b in pairs), 1)

        rows = []
        for order, solver in ((1, "ddim"), (2, "dpm2")):
            for steps in (2, 3, 5, 10, 20):
                ready = invert(network, x0, t, steps, order=order)
                back = sample(network, ready.x_t, t, steps, order=order)
                edited = sample(network, ready.x_t + moved, t, steps, order=order)
                rows.append(
                    {
                        "solver": solver,
                        "steps": steps,
                        "evaluations": 2 * steps + 1,
                        "change_db": near(change(network, ready, moved), truth),
                        "edited_minus_reconstruction_db": near(edited - back, truth),
                        "reconstruction_db": near(back, x0),
                    }
                )
    return rows


def main(count: int, sources: int) -> None:
    """Measure and print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home, faces = Home(root / "home"), root / "faces"
        registry = Registry(home)
        model = model_record(NAME, "zoo:faces32")
        registry.add_model(model)
        for _ in write_scenes(faces, SEED, count, model.shape[1], ROIS):
            pass
        registry.add_dataset(dataset_record(NAME, faces))
        t = model.recommended_t or 0.5
        run_here(
            home,
            None,
            DiscoverJob(NAME, NAME, ROIS, DiscoverRecipe(t=t, steps=STEPS), sources),
        )
        result: dict[str, object] = {"faces": count, "sources": sources, "t": t, "steps": STEPS}
        chosen = {roi: choose(registry, roi, model.id, t)[0] for roi in ROIS}
        everything: dict[str, list[float]] = {"unconfined": [], "confined": []}
        for roi, direction in chosen.items():
            for name, confine in (("unconfined", None), ("confined", roi)):
                found = outside(home, faces, root, direction, confine)
                everything[name] += found
                result[f"{roi} {name}"] = round(statistics.median(found), 1)
        for name, found in everything.items():
            result[f"all {name}"] = round(statistics.median(found), 1)
        network = open_fast(model, "float32")
        x0 = np.stack(
            [to_model(read_image(one).pixels, (32, 32)) for one in sorted(faces.glob("*.png"))[:16]]
        )
        vector = torch.from_numpy(registry.vectors([chosen["mouth"]])[0])
        result["curve"] = curve(network, torch.from_numpy(x0), t, vector, suited_strength(chosen["mouth"]))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:3])) if len(sys.argv) > 2 else main(40, 8)
