"""The demonstration: the whole way on the embedded model and faces, ending in a page to look at.

Forty faces are rendered. On the first eight of them directions are discovered, of all eight together and of each by
itself, and catalogued. Those of all together are scored on faces that they have never seen, and named by what a reader
of faces sees there; the best of each region leads the page. Of the others the best by gain and leakage are applied at
+-strength to all forty: to the eight they come from and to the rest.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from flows.engine.watch import Watch
from flows.jobs import AcrossJob, ApplyJob, DiscoverJob, ScoreJob
from flows.pictures.strength import first_order_change, recommended, suited_strength
from flows.register import dataset_record, model_record
from flows.server.server import begin_server
from flows.start import run as start
from flows.studies.naming import Named, name_directions
from flows.studies.page import Panel, Section, write_page
from loco.direction import Direction
from loco.images import read_image
from loco.measure.metrics import locality
from loco.recipes import ACROSS, DiscoverRecipe
from loco.zoo.folder import scene_name, write_scenes
from registry.home import Home
from registry.records import ModelRecord
from registry.registry import Registry

MODEL = "zoo:faces32"
NAME = "faces"
ROIS = ("mouth", "eyes", "hair")
SOURCES, OTHERS = 8, 32
SEED = 2409_02374
STEPS = 10
"""DDIM steps each way: enough for the change; the input is kept exactly whatever the steps are."""

LOCAL = 0.2
"""A direction is worth showing when its leakage is at most this, if the region has one."""

PER_ROI = 1

LEADING = 8
"""Faces that a dataset's direction is shown on, none of which it comes from."""

SCORED, CLIMBS = 16, 4
"""Faces that the dataset's directions are scored on, and on how many of them the strength is followed to its end."""

READER, READ, READ_STEPS = "zoo:reader", 20, 5
"""What names them, by how many faces, at how many DDIM steps each way."""


@dataclass(frozen=True)
class DemoResult:
    """Where the page is, what to try next (commands that work as printed), and the figures."""

    page: Path
    try_next: tuple[str, ...]
    summary: dict[str, Any]


def demo(home: Home, out: Path, watch: Watch) -> DemoResult:
    """Render, discover, catalogue, apply, and write OUT/index.html; what is there already is not made again."""
    begin_server(home)  # it comes up while the faces are rendered
    registry = Registry(home)
    model = _add_model(registry)
    folder = home.root / "demo" / "faces"
    _add_dataset(registry, folder, model.shape[1])
    t = model.recommended_t or 0.5
    watch.say(f"discovering directions of {', '.join(ROIS)} on {SOURCES} faces at t = {t:g}")
    found = start(home, None, DiscoverJob(NAME, NAME, ROIS, DiscoverRecipe(t=t, steps=STEPS), SOURCES), watch)
    counts = {"discovered": found.counts, "applied": {"planned": 0, "done": 0, "skipped": 0, "failed": 0}}
    leading = _leading(home, out, registry, _across(t), counts, watch)
    sections = []
    chosen: list[tuple[Direction, float]] = []
    for roi in ROIS:
        panels = []
        for direction in choose(registry, roi, model.id, t):
            strength = suited_strength(direction)
            watch.say(
                f"applying {roi}-{direction.id[:8]} at {-strength:g} and {strength:g} to {SOURCES + OTHERS} faces"
            )
            target = out / "edits" / f"{roi}-{direction.id[:8]}"
            strengths = (-strength, 0.0, strength)
            run = start(
                home,
                None,
                ApplyJob(((direction.id, 1.0),), strengths, target, dataset=NAME, steps=STEPS, beyond=True),
                watch,
            )
            for name in counts["applied"]:
                counts["applied"][name] += run.counts[name]
            panels.append(_panel(folder, target, out, registry, direction, strength))
            chosen.append((direction, strength))
        sections.append(Section(roi, tuple(panels)))
    summary: dict[str, Any] = {
        "model": model.name,
        "sources": SOURCES,
        "t": t,
        "runs": counts,
        "catalogue": registry.summary(),
        "directions": [
            {
                "id": panel.direction.id,
                "roi": panel.direction.roi,
                "found_on": panel.source_image,
                "name": panel.plus,
                "gain": panel.direction.gain,
                "leakage": panel.direction.leakage,
                "strength": panel.strength,
                "locality_sources": panel.locality_sources,
                "locality_others": panel.locality_others,
                "zero_is_input": panel.zero_is_input,
            }
            for panel in (*leading, *(panel for section in sections for panel in section.panels))
        ],
    }
    try_next = _try_next(home, out, chosen)
    page = out / "index.html"
    write_page(page, leading, sections, summary, try_next)
    return DemoResult(page, try_next, summary)


def _across(t: float) -> DiscoverRecipe:
    """Enough for one direction a region: the last digits would take twice the time."""
    return DiscoverRecipe(t=t, steps=STEPS, rank=2, null_rank=3, tol=0.1, max_rounds=10, method=ACROSS)


def _leading(
    home: Home, out: Path, registry: Registry, recipe: DiscoverRecipe, counts: dict[str, Any], watch: Watch
) -> tuple[Panel, ...]:
    """Of each region the dataset's best direction, on faces that it does not come from."""
    watch.say(f"discovering directions of all {SOURCES} faces together")
    start(home, None, AcrossJob(NAME, NAME, ROIS, recipe, SOURCES), watch)
    found = registry.find(dataset=NAME, t=recipe.t, scope="dataset")
    names = _named(home, registry, found, watch)
    panels = []
    for roi in ROIS:
        mine = [one for one in found if one.roi == roi]
        if not mine:
            continue
        direction = min(mine, key=lambda one: (names[one.id].plus is None, one.leakage or 0.0, one.id))
        strength = recommended(registry, direction)
        target = out / "edits" / f"{roi}-{direction.id[:8]}"
        strengths, pairs = (-strength, 0.0, strength), ((direction.id, 1.0),)
        job = ApplyJob(
            pairs, strengths, target, dataset=NAME, steps=STEPS, beyond=True, limit=SOURCES + LEADING
        )
        run = start(home, None, job, watch)
        for name in counts["applied"]:
            counts["applied"][name] += run.counts[name]
        folder = home.root / "demo" / "faces"
        panel = _panel(folder, target, out, registry, direction, strength, SOURCES + LEADING)
        known, name = registry.transfers([direction.id]).get(direction.id), names[direction.id]
        panels.append(
            replace(
                panel,
                plus=None if name.plus is None else name.plus.text,
                minus=None if name.minus is None else name.minus.text,
                transfer=None if known is None else known.transfer,
            )
        )
    return tuple(panels)


def _named(home: Home, registry: Registry, found: list[Direction], watch: Watch) -> dict[str, Named]:
    """Score the directions on faces that they do not come from, recommend strengths, and name them."""
    from loco.scorers.opening import open_scorer

    if not found:
        return {}
    ids = tuple(one.id for one in found)
    watch.say(f"scoring {len(ids)} directions on {SCORED} other faces")
    asked = ScoreJob(ids, NAME, steps=STEPS, limit=SOURCES + SCORED, skip=SOURCES, climbs=CLIMBS)
    start(home, None, asked, watch)
    watch.say(f"naming them by what {READER} reads")
    reader = open_scorer(READER)
    named = name_directions(registry, reader, found, NAME, watch, images=READ, steps=READ_STEPS)
    return {one.audited.direction.id: one for one in named}


def choose(registry: Registry, roi: str, model: str, t: float, count: int = PER_ROI) -> list[Direction]:
    """The region's best directions: the greatest change within the linear range among the local ones, each unlike
    the others.
    """
    candidates = registry.find(model=model, dataset=NAME, roi=roi, t=t, scope="image", sort="leakage")
    candidates = [
        one for one in candidates if one.leakage is not None and one.leakage <= LOCAL
    ] or candidates[:3]
    if not candidates:
        return []
    candidates.sort(key=lambda one: (-first_order_change(one, suited_strength(one)), one.id))
    vectors = registry.vectors(candidates).reshape(len(candidates), -1)
    chosen: list[int] = []
    for row in range(len(candidates)):
        if all(abs(float(vectors[row] @ vectors[other])) < 0.5 for other in chosen):
            chosen.append(row)
        if len(chosen) == count:
            break
    return [candidates[row] for row in chosen]


def _add_model(registry: Registry) -> ModelRecord:
    record = model_record(NAME, MODEL)
    known = {model.name: model for model in registry.models()}
    if NAME not in known or known[NAME].id != record.id:
        registry.add_model(record)
    return record


def _add_dataset(registry: Registry, folder: Path, size: int) -> None:
    """Render the faces where they are not there, and register them."""
    names = [scene_name(number) for number in range(SOURCES + OTHERS)]
    if not all((folder / name).is_file() for name in names):
        for _ in write_scenes(folder, SEED, len(names), size, ROIS):
            pass
    record = dataset_record(NAME, folder)
    known = {dataset.name: dataset for dataset in registry.datasets(pictured=False)}
    if NAME not in known or (known[NAME].id, known[NAME].path) != (record.id, record.path):
        registry.add_dataset(record)


def _panel(
    folder: Path,
    target: Path,
    out: Path,
    registry: Registry,
    direction: Direction,
    strength: float,
    count: int = SOURCES + OTHERS,
) -> Panel:
    """One direction's images and figures, read back from the files that were written."""
    label = f"{direction.roi}-{direction.id[:8]}"
    rows: list[tuple[Path, ...]] = []
    ratios: list[tuple[float, float]] = []
    masks: list[np.ndarray[Any, np.dtype[np.bool_]]] = []
    exact = True
    for path in sorted(folder.glob("*.png"))[:count]:
        outputs = [target / f"{path.stem}__{label}__{value:+g}.png" for value in (-strength, 0.0, strength)]
        before = read_image(path).pixels
        minus, zero, plus = (read_image(one).pixels.astype(np.float64) for one in outputs)
        exact &= bool(np.array_equal(zero, before))
        mask = read_image(folder / "masks" / direction.roi / path.name).pixels[..., 0] > 0
        rows.append(tuple(one.relative_to(out) for one in outputs))
        masks.append(mask)
        below, above = (locality((edited - zero).transpose(2, 0, 1), mask) for edited in (minus, plus))
        ratios.append((below, above))
    return Panel(
        direction=direction,
        strength=strength,
        source_image=registry.image_name(direction.image_id) or direction.image_id[:12],
        sources=tuple(rows[:SOURCES]),
        source_masks=tuple(masks[:SOURCES]),
        others=tuple(rows[SOURCES:]),
        locality_sources=median(one for pair in ratios[:SOURCES] for one in pair),
        locality_others=median(one for pair in ratios[SOURCES:] for one in pair),
        zero_is_input=exact,
    )


def _try_next(home: Home, out: Path, chosen: list[tuple[Direction, float]]) -> tuple[str, ...]:
    """Commands that work as printed, the last one's page to go on with, from the folder in which this was given."""
    program = Path(sys.argv[0])
    loco = f"{program if program.is_absolute() or len(program.parts) > 1 else 'loco'} --home {home.root}"
    by_roi = {direction.roi: (direction, strength) for direction, strength in reversed(chosen)}
    (mouth, strong), (hair, warm) = by_roi[ROIS[0]], by_roi[ROIS[2]]
    return (
        f"{loco} directions list --roi mouth --max-leakage 0.2 --limit 10",
        f"{loco} directions show {mouth.short}",
        f"{loco} apply --direction {mouth.short}:{strong:g} --direction {hair.short}:{-warm:g} "
        f"--dataset {NAME} --limit 8 --out {out / 'mixed'}",
        f"{loco} serve",
    )
