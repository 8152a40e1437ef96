"""What every method is judged by: its edits of the images it was found on and of the others, as rows and cases."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from flows.jobs import AcrossJob
from flows.pictures.drawing import heat, pixels_of, png, row_of, tile
from flows.start import run_here
from flows.studies.images import Looked
from loco.errors import InputError
from loco.evaluation.claims import Bars
from loco.evaluation.protocol import Protocol
from loco.recipes import ACROSS, DiscoverRecipe
from registry.records import DatasetRecord, ModelRecord
from registry.registry import Registry

FACES = ("mouth", "eyes", "hair")
SHOWN = (("best", 0.0), ("typical", 0.5), ("worst", 1.0))
"""Cases that are shown of each method and region: quantiles of leakage among held-out images."""

BATCH = 32
"""Images that are edited together."""


@dataclass(frozen=True)
class EvaluateJob:
    """What to evaluate.

    Attributes:
        out: Folder of the results.
        protocol: Sizes and bars.
        model, dataset: Records; None for the embedded model and faces that are rendered for it.
        rois: Regions, as for discovery.
        scorer: What judges, as `loco.scorers.opening` takes it; None for place alone.
        methods: Names, of `loco.evaluation.methods.METHODS`, some with knobs; none for all of them.
        t: Noise level; None for the model's recommended one.
        claims: Sizes and bars of the paper's claims; None where they are not asked.
        seed: Of the faces that are rendered; None for those of the embedded benchmark.
    """

    out: Path
    protocol: Protocol
    model: ModelRecord | None = None
    dataset: DatasetRecord | None = None
    rois: tuple[str, ...] = FACES
    scorer: str | None = "zoo:judge"
    methods: tuple[str, ...] = ()
    t: float | None = None
    claims: Bars | None = None
    seed: int | None = None


@dataclass
class Bench:
    """What all methods share: the opened model, the judge, and both sets of images inverted.

    `left_out` tells of images that are in neither, and why. `attributes` is what each face was rendered with, by its
    image's name; None where the images are somebody's own.
    """

    job: EvaluateJob
    registry: Registry
    model: ModelRecord
    dataset: DatasetRecord
    recipe: DiscoverRecipe
    sources: list[Looked]
    held_out: list[Looked]
    denoiser: Any = None
    judge: Any = None
    names: tuple[str, ...] = ()
    errors: Any = None
    things: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    attributes: Any = None
    source_path: Any = None
    held_path: Any = None


def measured(bench: Bench, method: str) -> dict[str, Any]:
    """All edits of one method: rows of figures, cases to be shown, and what finding its directions cost."""
    rows: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    directions, cost = _directions(bench, method)
    for number in range(len(bench.job.rois)):
        roi = bench.sources[0].rois[number].name
        vectors = directions[number]
        own, firsts = _on_sources(bench, method, roi, number, vectors)
        others, changes = _on_held_out(bench, method, roi, number, vectors, firsts)
        rows += own + others
        cases += _cases(bench, method, roi, others, changes)
    return {"method": method, "rows": rows, "cases": cases, "cost": cost}


def _directions(bench: Bench, method: str) -> tuple[list[list[Any]], dict[str, Any]]:
    """For each region, for each source, its directions [k, C, H, W]; and the cost of one source's regions together."""
    import torch

    from flows.studies.rendered import strongest
    from loco.evaluation.methods import FOUND_ON_ONE, base_of, find

    base, found, evaluations, seconds = base_of(method), [], 0, 0.0
    if base == "blend":
        return [[None] * len(bench.sources) for _ in bench.job.rois], {"evaluations": 0, "seconds": 0.0}
    if base in FOUND_ON_ONE:
        for k, source in enumerate(bench.sources):
            one = find(method, bench.denoiser, bench.source_path.x_t[k], source.rois, bench.recipe, source.id)
            found.append([one.vectors[roi.name] for roi in source.rois])
            evaluations, seconds = evaluations + one.evaluations, seconds + one.seconds
        count = len(bench.sources)
        cost = {"evaluations": round(evaluations / count, 1), "seconds": round(seconds / count, 3)}
        return [[one[number] for one in found] for number in range(len(bench.job.rois))], cost
    if base == "renderer":
        if bench.attributes is None or not bench.things:
            raise InputError(
                "evaluate: renderer needs faces that are rendered, and a judge of their attributes"
            )
        picked = [
            [
                [strongest(bench.attributes[one.name], one.rois[number], bench.things[roi])]
                for one in bench.sources
            ]
            for number, roi in enumerate(bench.job.rois)
        ]
        return picked, {"evaluations": 0, "seconds": 0.0}
    last = bench.sources[-1].id
    place = [image.id for image in bench.dataset.images].index(last) + 1
    recipe = replace(bench.recipe, method=ACROSS)  # as `loco discover --across` has it
    asked = AcrossJob(bench.model.name, bench.dataset.name, bench.job.rois, recipe, place)
    run = run_here(bench.registry.home, None, asked)
    known = bench.registry.find(scope="dataset")
    vectors = []
    for roi in bench.sources[0].rois:
        mine = sorted((one for one in known if one.roi == roi.name), key=lambda one: one.index)
        if not mine:
            raise InputError(f"evaluate: no direction of the dataset was found for {roi.name}")
        stacked = torch.from_numpy(bench.registry.vectors(mine).copy()).to(bench.source_path.x_t)
        vectors.append([stacked] * len(bench.sources))
    ended = datetime.fromisoformat(run.finished_at or run.started_at)
    seconds = (ended - datetime.fromisoformat(run.started_at)).total_seconds()
    spent = run.counts.get("evaluations", 0)
    count = len(bench.sources)
    return vectors, {"evaluations": round(spent / count, 1), "seconds": round(seconds / count, 3)}


def _on_sources(
    bench: Bench, method: str, roi: str, number: int, vectors: list[Any]
) -> tuple[list[dict[str, Any]], dict[tuple[int, float], Any]]:
    """Edits of the images that directions were found on; and of each source the first direction's, by sign."""
    from loco.evaluation.methods import WITHOUT_DIRECTION, base_of

    rows: list[dict[str, Any]] = []
    firsts: dict[tuple[int, float], Any] = {}
    ranks = 1 if base_of(method) in WITHOUT_DIRECTION else max((len(one) for one in vectors), default=0)
    for rank in range(ranks):
        some = [k for k, one in enumerate(vectors) if one is None or len(one) > rank]
        for sign in (1.0, -1.0):
            for k, one in zip(
                some, _edits(bench, method, number, some, vectors, rank, sign, source=True), strict=True
            ):
                if rank == 0:
                    firsts[k, sign] = one
                right = one.leakage <= bench.job.protocol.edit_leakage and _about(bench, roi, one.meaning)
                line = _row(bench, method, roi, number, bench.sources[k], one, "source", rank, sign)
                rows.append(line | {"edit_success": right})
    return rows, firsts


def _on_held_out(
    bench: Bench,
    method: str,
    roi: str,
    number: int,
    vectors: list[Any],
    firsts: dict[tuple[int, float], Any],
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Edits of images that no direction was found on, each by the first direction of the source of its turn."""
    from loco.evaluation.judging import most_changed
    from loco.measure.metrics import cosine

    own = _own(bench, roi)
    rows: list[dict[str, Any]] = []
    changes = list[Any]()
    protocol, count = bench.job.protocol, len(bench.sources)
    usable = [k for k in range(count) if (k, 1.0) in firsts]
    if not usable:
        return rows, changes
    turns = [usable[k % len(usable)] for k in range(len(bench.held_out))]
    for sign in (1.0, -1.0):
        edits = _edits(bench, method, number, turns, vectors, 0, sign, source=False)
        for k, one in enumerate(edits):
            first = firsts[turns[k], sign]
            agreement, reached = cosine(first.change, one.change), one.inside / protocol.target
            same: bool | None = None
            if len(one.meaning):
                meant = most_changed(first.meaning, bench.errors, own)
                same = bool(first.meaning[meant] * one.meaning[meant] > 0)
            carried = (
                reached >= protocol.transfer_reached
                and agreement > protocol.transfer_cosine
                and same is not False
            )
            line = _row(bench, method, roi, number, bench.held_out[k], one, "held out", 0, sign)
            rows.append(
                line
                | {
                    "agreement": agreement,
                    "same_meaning": same,
                    "transfer_success": carried,
                    "transfer_local": carried and one.leakage <= protocol.edit_leakage,
                    "reached": reached,
                    "pushed": abs(one.strength) if np.isfinite(one.strength) else None,
                }
            )
            changes.append(one.change)
    return rows, changes


def _edits(
    bench: Bench,
    method: str,
    number: int,
    turns: list[int],
    vectors: list[Any],
    rank: int,
    sign: float,
    *,
    source: bool,
) -> list[Any]:
    """One edit each: of sources `turns` themselves, or of the held-out images by what was found on `turns`."""
    import torch

    from flows.studies.rendered import rendered
    from loco.evaluation.edits import blended, edited
    from loco.evaluation.methods import base_of
    from loco.finish import feather

    looked = [bench.sources[k] for k in turns] if source else bench.held_out
    path = bench.source_path if source else bench.held_path
    rows = turns if source else list(range(len(turns)))
    protocol, found = bench.job.protocol, list[Any]()
    for start in range(0, len(rows), BATCH):
        picked = rows[start : start + BATCH]
        mine = turns[start : start + BATCH]
        rois = [one.rois[number] for one in looked[start : start + BATCH]]
        part, images = _picked(path, picked), _pixels(looked[start : start + BATCH], bench)
        if base_of(method) == "blend":
            shift = 1 if sign > 0 else 2
            others = _pixels([bench.sources[(k + shift) % len(bench.sources)] for k in mine], bench)
            edges = torch.stack([torch.from_numpy(feather(roi.mask)) for roi in rois]).to(others)
            found += blended(images, others, rois, edges, protocol.target, bench.judge)
            continue
        if base_of(method) == "renderer":
            faces = np.stack([bench.attributes[one.name] for one in looked[start : start + BATCH]])
            names = [vectors[k][0] for k in mine]
            found += rendered(faces, images, rois, names, sign, protocol.target, bench.judge)
            continue
        stacked = torch.stack([vectors[k][rank] for k in mine])
        found += edited(
            bench.denoiser, part, images, rois, stacked, sign, protocol.target, protocol.longest, bench.judge
        )
    return found


def _pixels(looked: Sequence[Looked], bench: Bench) -> Any:
    """The images themselves, [B, 3, H, W]: the path of a latent model begins at their latents."""
    import torch

    return torch.stack([torch.from_numpy(one.pixels) for one in looked]).to(bench.source_path.points)


def _picked(path: Any, rows: list[int]) -> Any:
    return replace(path, points=path.points[rows], means=path.means[rows])


def _about(bench: Bench, roi: str, meaning: Any) -> bool:
    """Whether what changes most is a thing of the region; true where nobody says which things are."""
    from loco.evaluation.judging import most_changed

    own = _own(bench, roi)
    return own is None or not len(meaning) or most_changed(meaning, bench.errors) in own


def _own(bench: Bench, roi: str) -> list[int] | None:
    """The columns of the region's things, or None where nobody says which they are."""
    things = bench.things.get(roi)
    return None if things is None else [bench.names.index(one) for one in things]


def _row(
    bench: Bench,
    method: str,
    roi: str,
    number: int,
    image: Looked,
    one: Any,
    place: str,
    rank: int,
    sign: float,
) -> dict[str, Any]:
    """An edit as plain data."""

    def known(value: float) -> float | None:
        return value if np.isfinite(value) else None

    from loco.evaluation.judging import most_changed

    top = most_changed(one.meaning, bench.errors) if len(one.meaning) else None
    return {
        "method": method,
        "roi": roi,
        "place": place,
        "image": image.name,
        "index": rank,
        "sign": sign,
        "area": image.rois[number].area,
        "strength": known(one.strength),
        "inside": one.inside,
        "outside": one.outside,
        "leakage": known(one.leakage),
        "psnr_outside": known(one.psnr_outside),
        "ssim_outside": known(one.ssim_outside),
        "linear": known(one.linear),
        "top": None if top is None else bench.names[top],
        "meaning": [round(float(value), 4) for value in one.meaning],
        "edit_success": None,
        "agreement": None,
        "same_meaning": None,
        "transfer_success": None,
        "transfer_local": None,
        "reached": None,
        "pushed": None,
    }


def _cases(
    bench: Bench, method: str, roi: str, rows: list[dict[str, Any]], changes: list[Any]
) -> list[dict[str, Any]]:
    """The held-out cases that are shown, chosen by rule: quantiles of leakage."""
    order = sorted(
        range(len(rows)), key=lambda k: np.inf if rows[k]["leakage"] is None else rows[k]["leakage"]
    )
    if not order:
        return []
    cases = []
    for name, quantile in SHOWN:
        k = order[round(quantile * (len(order) - 1))]
        before = bench.held_out[k % len(bench.held_out)].pixels
        after = np.clip(before + changes[k], -1, 1)
        picture = png(row_of([tile(pixels_of(before)), tile(pixels_of(after)), tile(heat(changes[k]))]))
        cases.append({"method": method, "roi": roi, "case": name, "row": rows[k], "picture": picture.hex()})
    return cases
