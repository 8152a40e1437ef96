"""Evaluation: edits of several methods on images that they were not found on, side by side, and a report.

Every method's edits are a file of their own under OUT/parts, named by all that they are made of: the same command,
interrupted, goes on with the next method.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.engine.watch import Watch
from flows.register import dataset_record, model_record
from flows.studies.analyze import parquet_of
from flows.studies.claims import claims_of, with_identity
from flows.studies.evaluation import numbered, write_report
from flows.studies.images import Looked, left_out, read_images
from flows.studies.judged import BATCH, FACES, Bench, EvaluateJob, measured
from flows.studies.parts import keep, kept
from loco.errors import InputError
from loco.files import write_atomic
from loco.ids import content_id
from loco.recipes import ALGORITHM, DiscoverRecipe
from registry.home import Home
from registry.records import DatasetRecord, ModelRecord
from registry.registry import Registry

VERSION = 2
"""Of what is measured; grows with every change of it."""

SIZE = 32
SEED = 2**22 + 17
"""Seed of the embedded benchmark's faces, which nothing was trained on."""

_KEYS = {
    "rows": {
        "image",
        "place",
        "roi",
        "index",
        "sign",
        "strength",
        "inside",
        "outside",
        "leakage",
        "meaning",
        "top",
    }
    | {"area", "agreement", "linear", "reached", "pushed", "method", "psnr_outside", "ssim_outside"}
    | {"edit_success", "transfer_success", "transfer_local", "same_meaning"},
    "cases": {"method", "roi", "case", "row", "picture"},
}
"""What every row and case of a part has."""


def run_evaluate(job: EvaluateJob, watch: Watch) -> dict[str, Any]:
    """Measure what is not measured yet, write the report to `job.out`, and return it as plain data."""
    from loco.evaluation.methods import METHODS, base_of
    from loco.evaluation.table import table, verdicts

    methods = job.methods or tuple(one for one in METHODS if one != "renderer" or job.dataset is None)
    for method in methods:
        base_of(method)
    bench = _prepared(job, watch)
    made_of = [
        ALGORITHM,
        VERSION,
        bench.model.id,
        [one.id for one in (*bench.sources, *bench.held_out)],
        [[roi.id for roi in one.rois] for one in (*bench.sources, *bench.held_out)],
        job.protocol.plain(),
        bench.recipe,
        None if bench.judge is None else bench.judge.id,
    ]
    watch.total(len(methods))
    parts = []
    for method in methods:
        path = job.out / "parts" / f"{content_id('evaluation', [*made_of, method])}.json"
        part = kept(path, _is_part, watch)
        if part is None:
            watch.say(f"{method}: finding directions and editing {len(bench.held_out)} images")
            try:
                part = measured(bench, method)
            except InputError as error:
                part = {"method": method, "left_out": str(error), "rows": [], "cases": [], "cost": None}
            part = keep(path, part)
        parts.append(part)
        watch.advance()
    rows = [row for part in parts for row in part["rows"]]
    if not rows:
        raise InputError(
            "evaluate: no method could be measured: " + "; ".join(str(one.get("left_out")) for one in parts)
        )
    cases = [case for part in parts for case in part["cases"]]
    with_identity(rows, bench)
    numbered(rows, cases)
    lines = table(rows)
    found = {
        "model": {"name": bench.model.name, "id": bench.model.id},
        "dataset": {"name": bench.dataset.name, "id": bench.dataset.id},
        "rois": list(job.rois),
        "t": bench.recipe.t,
        "judge": None if bench.judge is None else {"source": job.scorer, "id": bench.judge.id},
        "sources": len(bench.sources),
        "held_out": len(bench.held_out),
        "protocol": job.protocol.plain(),
        "verdicts": verdicts(lines, job.protocol),
        "table": [
            {name: one.plain() if hasattr(one, "plain") else one for name, one in line.items()}
            for line in lines
        ],
        "cost": {part["method"]: part["cost"] for part in parts},
        "left_out": {part["method"]: part["left_out"] for part in parts if part.get("left_out")},
        "images_left_out": bench.left_out,
    }
    curves: list[dict[str, Any]] = []
    if job.claims is not None:
        found["claims"], curves = claims_of(bench, job.claims, job.out, watch)
        write_atomic(job.out / "claims.parquet", parquet_of(curves))
    write_atomic(job.out / "evaluation.json", json.dumps(found, indent=1).encode())
    write_atomic(job.out / "edits.parquet", parquet_of(rows))
    write_report(job.out / "index.html", found, lines, cases, curves)
    return found


def _is_part(found: Any) -> bool:
    """Whether it looks like what is measured of a method."""
    if not isinstance(found, dict) or not {"method", "rows", "cases", "cost"} <= set(found):
        return False
    return all(
        isinstance(found[name], list)
        and all(isinstance(one, dict) and keys <= set(one) for one in found[name])
        for name, keys in _KEYS.items()
    )


def _prepared(job: EvaluateJob, watch: Watch) -> Bench:
    """Open, read and invert what all methods share."""
    import torch

    from flows.device.models import device, open_model
    from loco.diffusion.codec import codec_of
    from loco.diffusion.guidance import under
    from loco.evaluation.judging import errors_of
    from loco.inversion import invert, joined
    from loco.scorers.opening import open_scorer
    from loco.zoo.faces import THINGS

    registry = Registry(Home(job.out / "home"))
    model, dataset = _records(job, registry, watch)
    protocol = job.protocol
    t = job.t if job.t is not None else (model.recommended_t or 0.5)
    recipe = DiscoverRecipe(t=t, rank=protocol.rank, null_rank=protocol.null_rank)
    denoiser = under(open_model(model, "float32"), recipe)
    size = codec_of(denoiser).image_shape[1:]
    wanted = protocol.sources + protocol.held_out
    looked, trouble = read_images(registry, dataset.name, job.rois, size, wanted)
    if trouble:
        watch.say(left_out(dataset.name, trouble))
    if len(looked) < protocol.sources + 2:
        raise InputError(
            f"evaluate: dataset {dataset.name!r} has {len(looked)} images with all of {', '.join(job.rois)}, expected "
            f"at least {protocol.sources + 2}: {protocol.sources} sources and some that are held out; see --sources"
        )
    judge = None if job.scorer is None else open_scorer(job.scorer, device=device())
    names = () if judge is None else judge.names
    things = {roi: own for roi, own in THINGS.items() if set(own) <= set(names)}
    bench = Bench(
        job,
        registry,
        model,
        dataset,
        recipe,
        looked[: protocol.sources],
        looked[protocol.sources :],
        denoiser=denoiser,
        judge=judge,
        names=names,
        errors=None if judge is None else errors_of(_readings(judge, looked), judge.r2),
        things=things,
        left_out=trouble,
        attributes=None if job.dataset is not None else _attributes(job, looked),
    )

    def inverted(some: Sequence[Looked]) -> Any:
        parts = []
        for start in range(0, len(some), BATCH):
            pixels = torch.stack([torch.from_numpy(one.pixels) for one in some[start : start + BATCH]])
            parts.append(invert(denoiser, pixels.to(device()), t, protocol.steps))
        return joined(parts)

    bench.source_path, bench.held_path = inverted(bench.sources), inverted(bench.held_out)
    return bench


def _attributes(job: EvaluateJob, looked: Sequence[Looked]) -> dict[str, Any]:
    """What each face was rendered with, float32 [A], by the name of its image."""
    from loco.zoo.faces import sample_attributes

    seed = SEED if job.seed is None else job.seed
    return {
        one.name: sample_attributes(np.random.default_rng([seed, int(Path(one.name).stem)]), 1)[0]
        for one in looked
    }


def _readings(judge: Any, looked: Sequence[Looked]) -> Any:
    """What the judge reads of the images as they are, [B, N]."""
    import torch

    from flows.device.models import device

    parts = []
    with torch.no_grad():
        for start in range(0, len(looked), BATCH):
            pixels = torch.stack([torch.from_numpy(one.pixels) for one in looked[start : start + BATCH]])
            parts.append(judge(pixels.to(device())).cpu())
    return torch.cat(parts).numpy()


def _records(job: EvaluateJob, registry: Registry, watch: Watch) -> tuple[ModelRecord, DatasetRecord]:
    """The model and dataset, registered in the evaluation's own home, so that nobody's catalogue is touched."""
    model = job.model or model_record("faces", "zoo:faces32")
    registry.add_model(model)
    if job.dataset is not None:
        registry.add_dataset(job.dataset)
        return model, job.dataset
    from loco.zoo.folder import write_scenes

    name = "faces" if job.seed is None else f"faces-{job.seed}"
    folder = job.out / name
    count = job.protocol.sources + job.protocol.held_out
    watch.say(f"rendering {count} faces")
    # Those that are there too: it takes seconds, and puts right what was damaged since.
    for _ in write_scenes(folder, SEED if job.seed is None else job.seed, count, SIZE, FACES):
        pass
    dataset = dataset_record(name, folder)
    registry.add_dataset(dataset)
    return model, dataset
