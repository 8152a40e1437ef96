"""Solver steps chosen by what they buy: the fewest of which a job's changes are as good as those of many.

Measured on some of the job's own images, once: what was found is kept in the home, so that the same job, its parts and
its next night go on with the same number, which is in the recipes and so in the ids.
"""

import fcntl
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.apply.edits import Edit
from flows.inputs.places import Source
from flows.inputs.sources import Fetcher
from loco.errors import LocoError
from loco.files import make_folder, storage_errors, write_atomic
from loco.folders import check_inside
from loco.ids import content_id
from loco.images import picture_of, to_model
from loco.recipes import ALGORITHM
from registry.home import Home
from registry.records import ModelRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from flows.apply.batches import Push
    from loco.diffusion.denoiser import Denoiser

CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 15, 20)
"""Steps that are tried, the fewest first; the last is taken where none is good enough."""

MOST = CANDIDATES[-1]

FINE = 60
"""Steps of what they are to be near to."""

_REFERENCES = ((30, 6), (FINE, MOST))
"""Steps of what is compared with, and the most that are compared with it.

A few steps are as far from 30 as from 60, but for what the solver's order says: half the cost, where it matters most.
"""

_ORDERS = {"ddim": 1, "dpm2": 2}

PROMISED = 45.0
"""PSNR in dB of 8-bit images that no image of a job should fall below."""

MARGIN = 3.0
"""Decibels that the worst of the few measured images is to be better: of 128 faces the worst was 3.2 below it."""

ENOUGH = PROMISED + MARGIN
"""PSNR in dB, that of the worst measured image and edit, from which on steps are enough."""

IMAGES = 4
"""Images that are measured on."""

_LISTED = 64
"""Images of the list, from its beginning, among which so many are looked for that can be read."""

_EDITS = 8
"""Edits that are measured: of each sum of directions the strongest either way."""


@dataclass(frozen=True)
class Measurement:
    """Steps, what they give, and what it cost to find out: `decibels` is infinite where no bit differs."""

    steps: int
    decibels: float
    images: int
    evaluations: int

    def told(self, now: bool) -> str:
        """A line for people; `now` where it was measured for this run."""
        if not self.images:
            return f"steps {self.steps}: none of the first images could be measured on"
        short = (
            "" if self.decibels >= ENOUGH else f", less than the {ENOUGH:g} dB wanted: give more with --steps"
        )
        return (
            f"steps {self.steps}: {self.decibels:.1f} dB to those of {FINE}, the worst of {self.images} images"
            f"{short}; " + (f"measured with {self.evaluations} evaluations" if now else "measured before")
        )


def measurable(edits: Sequence[Edit]) -> bool:
    """Whether their results depend on steps at all."""
    return any(edit.strength != 0 and not edit.recipe.preview for edit in edits)


def key_of(model: ModelRecord, edits: Sequence[Edit], images: str) -> str:
    """What a measurement is kept under: the model, the recipes whatever their steps, and where the images are."""
    recipes = [asdict(replace(edit.recipe, steps=MOST)) for edit in edits]
    return content_id("steps", [ALGORITHM, model.id, recipes, images, [ENOUGH, FINE, *CANDIDATES]])


def kept(home: Home, key: str) -> Measurement | None:
    """What was measured before, if anything was."""
    try:
        told = json.loads(_path(home, key).read_bytes())
        steps, images, evaluations = (int(told[name]) for name in ("steps", "images", "evaluations"))
        decibels = math.inf if told["decibels"] is None else float(told["decibels"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return Measurement(steps, decibels, images, evaluations) if steps in CANDIDATES else None


def settled(
    home: Home,
    url: str | None,
    model: ModelRecord,
    edits: Sequence[Edit],
    sources: Sequence[Source],
    key: str,
    *,
    root: Path | None = None,
    stay: bool = True,
) -> tuple[Measurement, bool]:
    """What was measured before, or is now; and whether it is now. Others that ask at the same time wait for it."""
    path = _path(home, key)
    with storage_errors(path):
        make_folder(path.parent)
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = kept(home, key)
        if found is not None:
            return found, False
        found = measure(home, url, model, edits, _readable(model, sources, root), stay=stay)
        if found.images:
            told = asdict(found) | {"decibels": None if math.isinf(found.decibels) else found.decibels}
            write_atomic(path, json.dumps(told, sort_keys=True).encode())
        return found, True
    finally:
        os.close(handle)


def measure(
    home: Home,
    url: str | None,
    model: ModelRecord,
    edits: Sequence[Edit],
    pictures: Sequence[NDArray[np.float32]],
    *,
    stay: bool = True,
) -> Measurement:
    """The fewest steps that are enough for the strongest edits of the first pictures that respond to them.

    `stay` where this process goes on to work with the network; else it gives the device back.
    """

    from flows.apply.pushes import pushes_of
    from flows.device import slots
    from flows.device.models import open_fast
    from flows.device.steady import SteadyDenoiser, free
    from loco.diffusion.guidance import under

    strong = _strongest(edits)
    if not pictures or not strong:
        return Measurement(MOST, math.inf, 0, 0)
    with slots.held(slots.settled() if stay else slots.slots()) as slot:
        from loco.precision import algebra

        dtype = algebra(strong[0].recipe.dtype)
        opened = open_fast(model, strong[0].recipe.dtype, slot.device)
        # Not filled up: the last bits are below what is measured.
        network = SteadyDenoiser(under(opened, strong[0].recipe), f"{model.id} {slot.device}", least=1)
        found = _fewest(
            network, strong, *pushes_of(Registry(home, url), strong, slot.device, dtype), pictures
        )
        if not stay:
            del network, opened
            open_fast.cache_clear()
            free()
    return found


def _fewest(
    network: "Denoiser",
    edits: list[Edit],
    pushes: "tuple[Push, ...]",
    which: tuple[int, ...],
    pictures: Sequence[NDArray[np.float32]],
) -> Measurement:
    from flows.apply.batches import Editor, Image

    spent = 0

    def changed(steps: int, images: Sequence[NDArray[np.float32]]) -> list[dict[int, NDArray[np.uint8]]]:
        """Of each image: edits that changed it -> its 8-bit values then."""
        nonlocal spent
        editor = Editor(
            network,
            tuple(replace(edit.recipe, steps=steps) for edit in edits),
            tuple(edit.strength for edit in edits),
            pushes,
            which,
            batch=len(images),
            keep=lambda *_: None,
        )
        every = [*range(len(edits))]
        results = [one for k, x0 in enumerate(images) for one in editor.take(Image(x0, {}, k), every)]
        found: list[dict[int, NDArray[np.uint8]]] = [{} for _ in images]
        for one in [*results, *editor.flush()]:
            if one.change is not None:
                found[one.image.carried][one.edit] = _bytes(one.image.x0, one.change)
        spent += editor.tally.evaluations
        return found

    images, whole = list[NDArray[np.float32]](), list[dict[int, NDArray[np.uint8]]]()
    many, most = _REFERENCES[0]
    for start in range(0, len(pictures), IMAGES):
        part = pictures[start : start + IMAGES]
        responding = [(x0, one) for x0, one in zip(part, changed(many, part), strict=True) if one]
        images, whole = [x0 for x0, _ in responding], [one for _, one in responding]
        if images:
            break
    if not images:
        return Measurement(MOST, math.inf, 0, spent)
    decibels = 0.0
    for steps in CANDIDATES:
        if steps > most:
            many, most = _REFERENCES[-1]
            whole = changed(many, images)
        tried = changed(steps, images)
        decibels = _further(steps, many, _ORDERS[edits[0].recipe.solver]) + min(
            _psnr(now.get(edit), then)
            for now, fine in zip(tried, whole, strict=True)
            for edit, then in fine.items()
        )
        if decibels >= ENOUGH:
            break
    return Measurement(steps, decibels, len(images), spent)


def _further(steps: int, many: int, order: int) -> float:
    """Decibels by which so many steps are nearer to `FINE` than to `many`, of a solver of that order: at most 0."""
    error = steps**-order
    return 20 * math.log10((error - many**-order) / (error - FINE**-order))


def _path(home: Home, key: str) -> Path:
    return home.root / "steps" / f"{key}.json"


def _readable(model: ModelRecord, sources: Sequence[Source], root: Path | None) -> list[NDArray[np.float32]]:
    """The first images that can be read, as the model sees them; some more than are needed, should they not respond."""
    fetcher, found = Fetcher(), list[NDArray[np.float32]]()
    try:
        for source in islice(sources, _LISTED):
            try:
                if root is not None:  # of a dataset: nothing is read from outside it
                    check_inside(root, source.name)
                picture = picture_of(fetcher.read(source), source.place, source.name)
                found.append(to_model(picture.pixels, model.shape[1:]))
            except (LocoError, MemoryError):
                continue  # the run itself names it
            if len(found) == 2 * IMAGES:
                break
    finally:
        fetcher.close()
    return found


def _strongest(edits: Sequence[Edit]) -> list[Edit]:
    """Of each sum of directions the strongest edit either way; the strongest of all where they are many."""
    found: dict[tuple[object, ...], Edit] = {}
    for edit in sorted(edits, key=lambda edit: -abs(edit.strength)):
        if edit.strength != 0 and not edit.recipe.preview:
            names = tuple(name for name, _ in edit.recipe.directions)
            found.setdefault((names, edit.weights, edit.recipe.t, edit.strength > 0), edit)
    return list(found.values())[:_EDITS]


def _bytes(x0: NDArray[np.float32], change: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint((x0 + change + 1) * 127.5), 0, 255), np.uint8)


def _psnr(found: NDArray[np.uint8] | None, fine: NDArray[np.uint8]) -> float:
    """In dB; nothing at all is not as good as something."""
    if found is None:
        return 0.0
    error = float(((found.astype(np.float64) - fine) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf
