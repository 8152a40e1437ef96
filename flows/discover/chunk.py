"""Discovery on one chunk of images, in whichever process: writes basis files, touches no row, returns ids and counts.

What exists and verifies is not computed again. An image that fails costs none of the others; a device that runs out of
memory gets smaller batches; between images the chunk looks whether its run was told to stop.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flows.device import slots
from flows.discover.image import (
    BATCH,
    GROUP,
    DiscoverChunk,
    ImageOutcome,
    Item,
    is_sound,
    points_of,
    regions_of,
    too_little,
)
from loco.direction import basis_id, direction_id
from loco.errors import LocoError, NewerFormat
from registry.files.basis import holds, write_basis
from registry.files.cache import Cache
from registry.home import Home
from registry.records import ImageRecord
from registry.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from loco.diffusion.denoiser import Denoiser
    from loco.direction import Basis

VECTORS = 32
"""Images that the network is given at once by discovery on one image; less after it ran out of memory."""

_MOST: dict[str, int] = {}
"""Model id -> images that this process may give its network at once, once memory ran out."""

logger = logging.getLogger("loco.run")
logger.addHandler(logging.NullHandler())
logger.propagate = False  # Prefect takes it to its server; the command line has a line of its own for each


def discover_chunk(chunk: DiscoverChunk) -> list[ImageOutcome]:
    """Work on the images of one chunk, in order; those not reached when it was told to stop have no outcome."""
    outcomes: dict[str, ImageOutcome] = {}
    cache = Cache(Home(chunk.home))
    for start in range(0, len(chunk.images), GROUP):
        for outcome in _group(chunk, chunk.images[start : start + GROUP], cache):
            outcomes[outcome.image] = outcome
            for roi, cause in outcome.failures:
                logger.warning("%s%s: %s", outcome.image, f" ({roi})" if roi else "", cause)
            for roi, reason in outcome.absent:
                logger.info("%s (%s): absent: %s", outcome.image, roi, reason)
            if outcome.halved:
                logger.warning("%s: out of memory; smaller batches from here on", outcome.image)
            failed = sum(one.status == "failed" for one in outcomes.values()) if outcome.failures else 0
            if chunk.allowed is not None and failed > chunk.allowed:
                return [outcomes[one.name] for one in chunk.images if one.name in outcomes]
        if chunk.told_to_stop():
            break
    return [outcomes[one.name] for one in chunk.images if one.name in outcomes]


def is_known(chunk: DiscoverChunk) -> bool:
    """Whether the basis file of each of the chunk's images is there, all its regions being such as can be resolved.

    Reads the masks, and neither the images nor the files: those are verified when they are used.
    """
    home = Home(chunk.home)
    items = (regions_of(chunk, record) for record in chunk.images)
    return all(not item.failures and (not item.rois or holds(home, _basis_id(chunk, item))) for item in items)


def _group(chunk: DiscoverChunk, records: Sequence[ImageRecord], cache: Cache) -> Iterator[ImageOutcome]:
    """What becomes of some images: first those that need no network, then the others batch by batch."""
    home = Home(chunk.home)
    pending: dict[str, Item] = {}
    twins: list[tuple[Item, str]] = []
    items = [regions_of(chunk, record) for record in records]
    present = _present(home, Registry(home, chunk.registry_url), chunk, items)
    for item in items:
        basis = present.get(item.record.name)
        if basis is not None or not item.rois:
            yield item.outcome("absent" if basis is None else "skipped", basis)
            continue
        key = _basis_id(chunk, item)
        if key in pending:
            twins.append((item, key))
            continue
        try:
            item.look(chunk.root)
        except LocoError as error:
            item.failures = [("", str(error))]
            yield item.outcome("failed")
            continue
        pending[key] = item
    made: dict[str, ImageOutcome] = {}
    waiting = list(pending.values())
    for start in range(0, len(waiting), BATCH):
        if chunk.told_to_stop():
            return
        for key, outcome in _compute(home, chunk, waiting[start : start + BATCH], cache):
            made[key] = outcome
            yield outcome
    for item, key in twins:
        if key in made:
            twin = made[key]
            item.notes.append(f"the same image as {twin.image}")
            item.failures += [failure for failure in twin.failures if failure not in item.failures]
            yield item.outcome("skipped", twin.basis_id)


def _basis_id(chunk: DiscoverChunk, item: Item) -> str:
    return basis_id(chunk.model.id, item.record.id, chunk.recipe, tuple(roi.id for roi in item.rois))


def _present(home: Home, registry: Registry, chunk: DiscoverChunk, items: Sequence[Item]) -> dict[str, str]:
    """The basis of each image all of whose regions are there; of the others `rois` keeps those that are not."""
    found: dict[str, str] = {}
    asked: list[tuple[Item, dict[str, list[str]]]] = []
    for item in items:
        if not item.rois:
            continue
        whole = _basis_id(chunk, item)
        try:
            if is_sound(home, whole):
                found[item.record.name] = whole
                continue
        except NewerFormat as error:
            item.failures.append(("", str(error)))
            item.rois = []
            continue
        ids = {
            roi.id: [
                direction_id(chunk.model.id, item.record.id, chunk.recipe, roi.id, k)
                for k in range(chunk.recipe.rank)
            ]
            for roi in item.rois
        }
        asked.append((item, ids))
    holders = registry.holders(one for _, ids in asked for several in ids.values() for one in several)
    sound: dict[str, bool] = {}
    for item, ids in asked:
        held = {
            roi: sorted(holders[one] for one in several if one in holders) for roi, several in ids.items()
        }
        for basis in {one for several in held.values() for one in several} - sound.keys():
            with contextlib.suppress(NewerFormat):
                sound[basis] = is_sound(home, basis)
        held = {roi: [one for one in several if sound.get(one)] for roi, several in held.items()}
        missing = [roi for roi in item.rois if not held[roi.id]]
        if not missing:
            found[item.record.name] = min(one for several in held.values() for one in several)
            continue
        item.rois = missing
        part = _basis_id(chunk, item)
        try:
            if len(missing) < len(ids) and is_sound(home, part):
                found[item.record.name] = part
        except NewerFormat as error:
            item.failures.append(("", str(error)))
            item.rois = []
    return found


def _compute(
    home: Home, chunk: DiscoverChunk, items: Sequence[Item], cache: Cache
) -> Iterator[tuple[str, ImageOutcome]]:
    """Invert the images together, then find and write each one's directions, while an accelerator is held."""
    from flows.device.models import open_model
    from loco.diffusion.guidance import edited_under, under
    from loco.memory import shared

    recipe = chunk.recipe
    shared(len(slots.slots()))
    with slots.held(slots.settled()) as slot:
        waiting = []
        for item in items:
            key = _basis_id(chunk, item)
            try:
                sound = is_sound(home, key)  # by another run, while this one waited for the slot
            except NewerFormat as error:
                item.failures.append(("", str(error)))
                yield key, item.outcome("failed")
                continue
            if sound:
                yield key, item.outcome("skipped", key)
            else:
                waiting.append((key, item))
        if not waiting:
            return
        opened = open_model(chunk.model, recipe.dtype, slot.device)
        denoiser, edited = under(opened, recipe), edited_under(opened, recipe)
        started = time.monotonic()
        found = points_of(denoiser, [item for _, item in waiting], chunk, slot.device, cache)
        for (key, item), at in zip(waiting, found, strict=True):
            try:
                if at is None:
                    raise too_little(chunk, item)
                basis = _directions(denoiser, edited, at, item, chunk)
                seconds, started = time.monotonic() - started, time.monotonic()
                write_basis(home, _made_on(basis, slot.device), seconds)
            except LocoError as error:
                item.failures.append(("", str(error)))
                yield key, item.outcome("failed")
                continue
            yield (
                key,
                replace(
                    item.outcome("done", basis.id),
                    directions=len(basis.directions),
                    refused=len(basis.refused),
                    evaluations=basis.evaluations,
                    seconds=seconds,
                ),
            )


def _made_on(basis: "Basis", device: str) -> "Basis":
    """The basis with where it was found."""
    import torch

    return replace(basis, provenance={"device": device, "torch": torch.__version__})


def _directions(
    denoiser: "Denoiser", edited: "Denoiser | None", at: "Tensor", item: Item, chunk: DiscoverChunk
) -> "Basis":
    """Discovery on one image; when memory runs out, with half as much at a time."""
    from flows.device.steady import free
    from loco.diffusion.frugal import FrugalDenoiser
    from loco.discover import discover
    from loco.memory import out_of_memory

    most = _MOST.get(chunk.model.id)
    while True:
        try:
            return discover(
                denoiser if most is None else FrugalDenoiser(denoiser, most),
                at,
                item.rois,
                chunk.recipe,
                model=chunk.model.id,
                image_id=item.record.id,
                image_name=item.record.name,
                max_memory=None if chunk.max_memory is None else int(chunk.max_memory * 2**30),
                edited=edited if most is None or edited is None else FrugalDenoiser(edited, most),
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            item.halved += 1
        free()
        if most == 1:
            raise too_little(chunk, item)
        most = VECTORS // 2 if most is None else most // 2
        _MOST[chunk.model.id] = most
