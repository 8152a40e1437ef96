"""Directions of a dataset put together from the basis files of its images (`loco.aligned`): no network is asked.

`Gathered` finds the files of the dataset's images; `put_together` makes directions of them.

The files are read one by one. Groups are made of at most as many images as fit into `ROOM`, drawn by their ids where
there are more; every other image joins the group that holds the most of it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.discover.across_basis import Whole
from flows.discover.image import Item
from flows.discover.rounds import Rounds, Seen
from loco.direction import Direction, direction_id
from loco.errors import InputError
from loco.recipes import METHODS, DiscoverRecipe
from registry.files.basis import basis_path, read_basis
from registry.home import Home
from registry.registry import Registry

if TYPE_CHECKING:
    from loco.across import Answers, Shaped
    from loco.aligned import Found

ROOM = 2**30
"""Bytes of vectors in memory."""

MOST = 256
"""Images that groups are made of: each is compared with every other."""


@dataclass(frozen=True)
class Source:
    """An image's basis file for one region: the image, the file's id, and the id of the image's region."""

    image_id: str
    basis: str
    roi: str


class Gathered:
    """The basis files of a dataset's images, by region, as they are found.

    Attributes:
        sources: The files of each region.
        counts: How many images were used (`done`), `absent`, `failed` or `skipped` (twins, and those without a file).
        unknown: Images that have a region, but no file.
    """

    def __init__(self, whole: Whole) -> None:
        names = whole.names
        self.whole = whole
        self.sources: list[list[Source]] = [[] for _ in names]
        self.counts, self.unknown = Counter[str](), 0
        self._seen, self._absent = dict[str, Seen](), set[str]()
        self._masks = np.zeros((len(names), *whole.model.shape[1:]), np.int64)
        self._origins = [""] * len(names)

    def take(self, items: Sequence[Item], registry: Registry) -> None:
        """Look for the files of some images, all in one question to the catalogue."""
        # What stands before the projection is the same, whichever method made directions of it.
        recipes = [replace(self.whole.recipe, aligned=False, method=method) for method in METHODS]
        ids = {
            (item.record.id, roi.id): [
                direction_id(self.whole.model.id, item.record.id, recipe, roi.id, k)
                for recipe in recipes
                for k in range(recipe.rank)
            ]
            for item in items
            for roi in item.rois
        }
        holders = registry.holders(one for several in ids.values() for one in several)
        for item in items:
            self.counts[self._taken(item, ids, holders)] += 1

    def _taken(self, item: Item, ids: dict[tuple[str, str], list[str]], holders: dict[str, str]) -> str:
        """What became of the image."""
        key, names = item.record.id, self.whole.names
        if key in self._seen:
            return "skipped"
        rois, areas = [""] * len(names), [0.0] * len(names)
        for roi in item.rois:
            number = names.index(roi.name)
            basis = next((holders[one] for one in ids[key, roi.id] if one in holders), None)
            if basis is None:
                continue
            self.sources[number].append(Source(key, basis, roi.id))
            rois[number], areas[number] = roi.id, roi.area
            self._masks[number] += roi.mask
            self._origins[number] = self._origins[number] or roi.source
        if any(rois):
            self._seen[key] = Seen(key, (), tuple(rois), tuple(areas))
            return "done"
        if item.rois:
            self.unknown += 1
            return "skipped"
        self._absent.add(key)
        return "failed" if item.failures else "absent"

    def rounds(self) -> Rounds:
        """The images that take part, as a run that asks the network keeps them."""
        seen = tuple(self._seen[key] for key in sorted(self._seen))
        absent, origins = tuple(sorted(self._absent)), tuple(self._origins)
        return Rounds("aligned", seen=seen, absent=absent, sources=origins, masks=self._masks)

    def put_together(self) -> "tuple[Shaped, Answers, tuple[int, int, int]]":
        """The directions, what each image says to them, and their shape; raises `InputError` where there is no file."""
        from loco.across import Answers

        seen, regions = self.rounds().seen, range(len(self.whole.names))
        areas = [{one.id: one.areas[number] for one in seen if one.rois[number]} for number in regions]
        shaped, told, first = put_together(self.whole.home, self.sources, areas, self.whole.recipe)
        ids = tuple(one.id for one in seen)
        answers = Answers(
            ids,
            np.array([told[one][0] for one in ids]),
            np.array([told[one][1] for one in ids]),
            [()] * len(shaped.vectors),
            np.ones((len(ids), len(regions))),
            0,
            0,
            True,
            first.step,
            first.alpha_bar,
        )
        return shaped, answers, first.shape


def found_in(home: Home, source: Source) -> "tuple[Found, Direction]":
    """What the file holds of the region before the projection, and one of its directions.

    Raises `InputError` for a file of an earlier program, which kept only what the projection left.
    """
    import torch

    from loco.aligned import Found

    basis = read_basis(basis_path(home, source.basis))
    [number] = [at for at, roi in enumerate(basis.rois) if roi.id == source.roi]
    names = [f"{name}.{number}" for name in ("right", "values", "rest", "rest_values")]
    if any(name not in basis.arrays for name in names):
        raise InputError(
            f"basis {basis.id[:12]} of {basis.image_name} holds no singular vectors before the projection, as files "
            f"of earlier programs do; delete it and discover the image again, or leave --from-catalogue out"
        )
    right, values, rest, others = (torch.from_numpy(basis.arrays[name]).float() for name in names)
    [one, *_] = [one for one in basis.directions if one.roi_id == source.roi]
    return Found(source.image_id, right.flatten(1), values, rest.flatten(1), others), one


def put_together(
    home: Home, sources: Sequence[Sequence[Source]], areas: Sequence[dict[str, float]], recipe: DiscoverRecipe
) -> "tuple[Shaped, dict[str, tuple[list[float], list[float]]], Direction]":
    """The directions of all regions; what each image says to them (gains and leakages); a direction of the sources.

    `sources` are those of each region, `areas` the fraction of the pixels in it by image.
    """
    import torch

    from loco.across import Shaped
    from loco.aligned import Group, aligned, directions_of, responses, share
    from loco.linalg.pooled import agreement

    vectors, columns = list[Any](), list[tuple[Any, ...]]()
    owners: list[tuple[int, set[str]]] = []
    first: Direction | None = None
    for region, own in enumerate(sources):
        if not own:
            continue
        size = _few(home, own[0])
        chosen = {
            one.image_id for one in sorted(own, key=lambda one: _draw(recipe.seed, one.image_id))[:size]
        }
        told = [found_in(home, one) for one in own if one.image_id in chosen]
        found, first = [one for one, _ in told], told[0][1] if first is None else first
        strength = median(float(one.values[0]) for one in found if len(one.values))
        residual = median(direction.residual for _, direction in told)
        groups: list[Group] = aligned(found, recipe)
        members = [{found[number].image_id for number in group.members} for group in groups]
        for source in own:
            if source.image_id not in chosen and len(groups) > 1:
                rows = found_in(home, source)[0].rows
                best = max(
                    range(len(groups)), key=lambda k: share(rows, torch.linalg.qr(groups[k].vectors.T)[0].T)
                )
                members[best].add(source.image_id)
            elif source.image_id not in chosen:
                members[0].add(source.image_id)
        for number, group in enumerate(groups):
            halves = [[found[k] for k in group.members[start::2]] for start in (0, 1)]
            whole = all(halves)
            near = (
                agreement(group.vectors, [directions_of(half, recipe)[0] for half in halves])
                if whole
                else torch.full((len(group.vectors),), torch.nan)
            )
            for k, vector in enumerate(group.vectors):
                vectors.append(vector)
                owners.append((region, members[number]))
                columns.append(
                    (
                        region,
                        number * recipe.rank + k,
                        float(group.retained[k]),
                        float(group.values[k]) * strength,
                        residual,
                        float(near[k]) if whole else None,
                        all(direction.converged for _, direction in told),
                    )
                )
    if first is None:
        raise InputError(
            "no image of the dataset has directions in the catalogue for these regions, this model and this recipe; "
            "run the same `loco discover` without --across first, or leave --from-catalogue out"
        )
    answers: dict[str, tuple[list[float], list[float]]] = {}
    block = torch.stack(vectors)
    for region, own in enumerate(sources):
        rows_of = [row for row, (number, _) in enumerate(owners) if number == region]
        for source in own:
            gains, leakages = answers.setdefault(
                source.image_id, ([float("nan")] * len(owners), [float("nan")] * len(owners))
            )
            mine = [row for row in rows_of if source.image_id in owners[row][1]]
            if not mine:
                continue
            inside, outside = responses(found_in(home, source)[0], block[mine])
            area = areas[region][source.image_id]
            for row, gain, other in zip(mine, inside.tolist(), outside.tolist(), strict=True):
                gains[row] = gain
                if 0 < area < 1:
                    leakages[row] = other / max(gain, 1e-30) * (area / (1 - area)) ** 0.5
    told_columns: list[Any] = [tuple(one) for one in zip(*columns, strict=True)]
    regions, index, retained, values, residuals, stability, converged = told_columns
    shaped = Shaped(block, regions, index, retained, values, residuals, stability, converged, (), ())
    return shaped, answers, first


def _few(home: Home, one: Source) -> int:
    """How many images fit into `ROOM`, by one of them."""
    found, _ = found_in(home, one)
    each = 4 * (found.right.numel() + found.rest.numel())
    return max(8, min(MOST, ROOM // max(1, each)))


def _draw(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{seed} {image_id}".encode()).digest()
