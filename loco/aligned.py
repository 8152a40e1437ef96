"""Directions of a dataset from what was found on its images one by one: no evaluation of the network.

Each image's basis keeps the region's singular vectors v_j before the projection, with their values s_j, and those of
the rest. Neither signs nor rotations among near values mean anything, so images are compared as subspaces: with the
rows B = diag(s_j / s_1) v_j of an image, and orthonormal U of a group, the share of B that U holds,

    ||B U'||^2 / ||B||^2        in [0, 1], blind to both

Groups are made by Lloyd's rounds over it (a group's U are the leading right singular vectors of its members' rows),
from medoids that are far from each other; as many as hold clearly more than one group less does. One group is the usual
case; several where a set holds several kinds of images, of which one mean would be wrong. A group's directions are made
of the stacked rows of its members as one image's are of its own (`loco.shaping`).

What an image says to a direction d is bounded for free: ||M J d||^2 >= sum s_j^2 <v_j, d>^2, and likewise of the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.linalg.krylov import SILENT, Triplets
from loco.recipes import DiscoverRecipe
from loco.shaping import shaped

GROUPS = 4
"""Groups at most."""

WORTH = 0.1
"""Another group must hold so much more of the images' subspaces."""

LEAST = 3
"""Images in a group."""

_ROUNDS = 20


@dataclass(frozen=True)
class Found:
    """What was found on one image in one region.

    Attributes:
        image_id: The image.
        right, values: Singular vectors [k, D] and values [k] of the region.
        rest, rest_values: Those of the rest.
    """

    image_id: str
    right: Tensor
    values: Tensor
    rest: Tensor
    rest_values: Tensor

    @property
    def rows(self) -> Tensor:
        """B, [k, D]."""
        return self.right * (self.values / self.values[:1])[:, None]


@dataclass(frozen=True)
class Group:
    """Images that go together, and their directions.

    Attributes:
        members: Numbers of the images.
        vectors: Directions, [r, D].
        retained, values: What the projection left of each, and the root of the mean squared response before it, [r].
    """

    members: tuple[int, ...]
    vectors: Tensor
    retained: Tensor
    values: Tensor


def share(rows: Tensor, span: Tensor) -> float:
    """How much of an image's rows B [k, D] an orthonormal span [r, D] holds, in [0, 1]."""
    return float((rows @ span.T).square().sum() / rows.square().sum().clamp_min(1e-30))


def grouped(found: Sequence[Found], rank: int) -> list[tuple[int, ...]]:
    """The images in groups, the largest first; in one where that does."""
    rows = _Rows.of([one.rows for one in found], rank)
    best = [tuple(range(len(found)))]
    held = rows.held(best)
    for count in range(2, min(GROUPS, len(found) // LEAST) + 1):
        groups = rows.lloyd(count)
        now = rows.held(groups) if groups else 0.0
        if now < held + WORTH:
            break
        best, held = groups, now
    return sorted(best, key=lambda one: (-len(one), one))


def responses(found: Found, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Lower bounds of ||M J d|| and of ||(I - M) J d|| for directions d [n, D] on the image, [n] each."""
    inside = (vectors @ found.right.T).square() @ found.values.square()
    outside = (vectors @ found.rest.T).square() @ found.rest_values.square()
    return inside.sqrt(), outside.sqrt()


def aligned(found: Sequence[Found], recipe: DiscoverRecipe) -> list[Group]:
    """The directions of each group of images; raises `ValueError` where nothing was found on any."""
    usable = [number for number, one in enumerate(found) if len(one.values)]
    if not usable:
        raise ValueError("expected at least one image with singular vectors, found none")
    groups = []
    for own in grouped([found[number] for number in usable], recipe.rank):
        members = tuple(usable[number] for number in own)
        few = [found[number] for number in members]
        vectors, retained, values = directions_of(few, recipe)
        groups.append(Group(members, vectors, retained, values))
    return groups


def directions_of(few: Sequence[Found], recipe: DiscoverRecipe) -> tuple[Tensor, Tensor, Tensor]:
    """The directions [r, D] of images taken as one group, what is retained of each, and their values, [r] each."""
    inside = _leading([one.right for one in few], [one.values for one in few], recipe.rank, few)
    rest = _leading([one.rest for one in few], [one.rest_values for one in few], recipe.null_rank, few)
    vectors, retained = shaped(recipe, inside, rest, inside.right, _no_grams, told=False)
    return vectors, retained, inside.values


def _no_grams() -> tuple[Tensor, Tensor]:
    raise ValueError(
        "constrained directions need the Jacobian, which files do not hold; use method = projected"
    )


def _leading(
    vectors: Sequence[Tensor], values: Sequence[Tensor], rank: int, few: Sequence[Found]
) -> Triplets:
    """Leading right singular vectors of the images' rows s v, each image's over its own first value of the region."""
    weights = [1 / one.values[0] for one in few]
    stacked = torch.cat([v * (s * w)[:, None] for v, s, w in zip(vectors, values, weights, strict=True)])
    scale = sum(float(w) ** 2 for w in weights) ** 0.5
    gram = stacked.double() @ stacked.double().T
    squares, left = torch.linalg.eigh(gram)
    squares, left = squares.flip(0).clamp_min(0), left.flip(1)
    kept = int((squares[:rank] > SILENT**2 * squares[:1].sum()).sum())
    roots = squares[:kept].sqrt()
    right = ((left[:, :kept] / roots).T @ stacked.double()).to(stacked.dtype)
    told = (roots / scale).to(stacked.dtype)
    return Triplets(told, right, torch.zeros_like(told), 0.0, True, float(squares.sum()) / scale**2)


@dataclass(frozen=True)
class _Rows:
    """All images' rows by their inner products alone: nothing else of them is needed to group them.

    Attributes:
        gram: [n, n] float64.
        places: The rows of each image.
        rank: Vectors of a group's span.
    """

    gram: Tensor
    places: tuple[tuple[int, ...], ...]
    rank: int

    @classmethod
    def of(cls, rows: Sequence[Tensor], rank: int) -> "_Rows":
        stacked = torch.cat(list(rows))
        places, start = [], 0
        for one in rows:
            places.append(tuple(range(start, start + len(one))))
            start += len(one)
        gram = (stacked @ stacked.T).double()
        return cls((gram + gram.T) / 2, tuple(places), rank)

    def span(self, images: Sequence[int]) -> tuple[list[int], Tensor]:
        """The leading right singular vectors of some images' rows, as combinations [r, m] of these m rows."""
        rows = [row for image in images for row in self.places[image]]
        squares, left = torch.linalg.eigh(self.gram[rows][:, rows])
        kept = int((squares.flip(0)[: self.rank] > SILENT * squares.max().clamp_min(1e-300)).sum())
        return rows, (left.flip(1)[:, :kept] / squares.flip(0)[:kept].sqrt()).T

    def share(self, image: int, span: tuple[list[int], Tensor]) -> float:
        """How much of an image's rows a span holds, in [0, 1]."""
        own = list(self.places[image])
        inside = self.gram[own][:, span[0]] @ span[1].T
        return float(inside.square().sum() / self.gram[own, own].sum().clamp_min(1e-300))

    def held(self, groups: Sequence[tuple[int, ...]]) -> float:
        """The mean share of an image's rows that the other half of its group holds.

        An image is held by itself: what counts is what others hold of it.
        """
        total, count = 0.0, 0
        for group in groups:
            halves = group[::2], group[1::2]
            for own, other in (halves, halves[::-1]):
                if other:
                    span = self.span(other)
                    total += sum(self.share(image, span) for image in own)
            count += len(group)
        return total / max(1, count)

    def lloyd(self, count: int) -> list[tuple[int, ...]]:
        """Groups by rounds of spans and assignments, from images that are far from each other; none if one is small."""
        images = range(len(self.places))
        own = [self.span([image]) for image in images]
        near = [[self.share(image, span) for span in own] for image in images]
        centres = [max(images, key=lambda k: sum(row[k] for row in near))]
        while len(centres) < count:
            centres.append(min(images, key=lambda k: max(near[k][centre] for centre in centres)))
        spans = [own[centre] for centre in centres]
        groups: list[tuple[int, ...]] = []
        for _ in range(_ROUNDS):
            chosen = [max(range(count), key=lambda c: (self.share(image, spans[c]), -c)) for image in images]
            now = [tuple(k for k, c in enumerate(chosen) if c == number) for number in range(count)]
            if min(map(len, now)) < LEAST:
                return []
            if now == groups:
                break
            groups, spans = now, [self.span(one) for one in now]
        return groups
