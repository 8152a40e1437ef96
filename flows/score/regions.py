"""The regions that an image of a chunk has of those that its directions are of."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loco.errors import LocoError, RoiAbsent
from loco.folders import Folders, open_image
from loco.images import Picture
from loco.rois.layouts import RoiSpec, resolve_roi
from loco.rois.roi import Roi
from registry.home import Home
from registry.records import ImageRecord

if TYPE_CHECKING:
    from flows.score.chunk import ScoreChunk


@dataclass
class Regions:
    """By a direction's place, the region at the model's size; pairs (region, reason) of what is absent, or failed."""

    there: dict[int, Roi] = field(default_factory=dict)
    absent: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def opener(chunk: "ScoreChunk", image: ImageRecord) -> Callable[[], Picture]:
    """Who opens an image of the chunk, once, when it is asked for."""
    return functools.cache(functools.partial(open_image, chunk.root, image.name, image.id))


def regions_of(
    chunk: "ScoreChunk", image: ImageRecord, places: Iterable[int], look: Callable[[], Picture]
) -> Regions:
    """The regions of one image, which `look` opens, for the directions at these places; each region is read once."""
    found, folders = Regions(), Folders(chunk.root, chunk.masks)
    known: dict[str, Roi | LocoError] = {}
    for k in places:
        text, name = chunk.rois[k], chunk.directions[k].roi
        if text not in known:
            try:
                roi = resolve_roi(RoiSpec.parse(text), folders, image, Home(chunk.home).masks, look)
                known[text] = roi.fit(chunk.model.shape[1:])
            except LocoError as error:
                known[text] = error
                told = found.absent if isinstance(error, RoiAbsent) else found.failures
                told.append((name, str(error)))
        one = known[text]
        if isinstance(one, Roi):
            found.there[k] = one
    return found
