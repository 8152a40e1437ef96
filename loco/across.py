"""Directions of a dataset: what moves a region in many images at once, each image with a mask of its own.

With J_i the Jacobian of the posterior mean at image i's point, M_i the rows of its region and w_i its weight,

    inside   sum w_i J_i' M_i J_i          rest   sum w_i J_i' (I - M_i) J_i          both over sum w_i

the direction is made of the leading eigenvectors of both as one image's is of its singular vectors (`loco.shaping`):
off the rest's, or penalised by it. An image's part of it is plain functions of that image alone, of which only sums are
kept (`loco.linalg.pooled`):

    begun       random rows pulled back through J_i, from which the space begins, and how strongly the region answers
    pooled.parts   one block of products, of each round
    answer      gain and leakage of the directions that came of it

The weights are w_i = 1 / (s_i^2 + FLOOR median s^2), s_i being how strongly image i's region answers: an image of large
gain counts as much as any other, and one that hardly answers counts for little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.direction import Basis, Direction, Refusal, RoiMask, basis_id, direction_id, region_id
from loco.evidence import RESPONDS
from loco.ids import content_id
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Triplets, orthonormal, smoothed
from loco.linalg.pooled import Pool, agreement, counted
from loco.linalg.projection import positive
from loco.linalg.stacked import Stacked
from loco.linearity import linear_range
from loco.recipes import DiscoverRecipe
from loco.shaping import leakage_of, nothing_left, shaped

FLOOR = 0.1
"""Squared answer, as a fraction of the images' median, below which an image counts for less than the others."""

START_ROWS, START_ALL = 2, 3
"""Random left vectors of the start, of each image: on each region's rows, and on all rows together."""

Jacobian = JacobianOperator | Stacked


@dataclass(frozen=True)
class Region:
    """One region over the images used.

    Attributes:
        name: Its name.
        source: Where its masks come from.
        area: Mean fraction of the pixels in it.
        mask: Pixels that are in it in at least half of the images, [H, W].
        members: Pairs (image id, id of the image's region), of the images that have it.
    """

    name: str
    source: str
    area: float
    mask: NDArray[np.bool_]
    members: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """Hash of the name and of the regions of the images."""
        return region_id(self.name, self.members)


def begun(
    operator: Jacobian, masks: Sequence[Tensor | None], seed: int, image_id: str, grid: Sequence[int]
) -> tuple[Tensor, tuple[float, ...]]:
    """What one image adds to the space's start, [s, D] int64, and how strongly its regions answer: ||M_i J_i v||.

    `grid` is the shape of the rows as an image; the image's id draws its random rows; None is a region that it lacks.
    """
    generator = torch.Generator().manual_seed(int(content_id("start", [seed, image_id]), 16) % 2**63)
    size = int(np.prod(grid))
    lefts, places = list[Tensor](), list[tuple[int, int]]()
    for number in range(len(masks) + 1):
        count = START_ROWS if number < len(masks) else START_ALL
        draw = smoothed(torch.randn((count, size), generator=generator, dtype=torch.float64), grid)
        mask = None if number == len(masks) else masks[number]
        if number < len(masks) and mask is None:
            continue
        draw = draw.to(operator.dtype)
        if mask is not None:
            draw = draw.to(mask.device) * mask
        places += [(number, len(lefts) + k) for k in range(count)]
        lefts += list(draw)
    device = next((mask.device for mask in masks if mask is not None), torch.device("cpu"))
    pulled = operator.rmv(
        torch.nn.functional.normalize(torch.stack([one.to(device) for one in lefts]), dim=1)
    )
    unit = torch.nn.functional.normalize(pulled, dim=1)
    start = unit.new_zeros((len(masks) * START_ROWS + START_ALL, unit.shape[1]))
    own = [[row for region, row in places if region == number] for number in range(len(masks))]
    for number, rows in enumerate((*own, [row for region, row in places if region == len(masks)])):
        if rows:
            start[number * START_ROWS : number * START_ROWS + len(rows)] = unit[rows]
    spans = [orthonormal(unit[rows], unit[:0]) if rows else unit[:0] for rows in own]
    responses = operator.mv(torch.cat(spans)).split([len(one) for one in spans])
    answers = [
        0.0 if mask is None or not len(response) else float(torch.linalg.matrix_norm(response * mask, 2))
        for mask, response in zip(masks, responses, strict=True)
    ]
    return counted(start), tuple(answers)


def weights_of(answers: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """The weights of images in each region, from their answers [N][R]; 0 where an image has none."""
    floors = []
    for column in zip(*answers, strict=True):
        known = [one**2 for one in column if one > 0]
        floors.append(FLOOR * median(known) if known else 0.0)
    return [
        tuple(1 / (one**2 + floor) if one > 0 else 0.0 for one, floor in zip(row, floors, strict=True))
        for row in answers
    ]


@dataclass(frozen=True)
class Answer:
    """What one image says to directions.

    Attributes:
        gains, leakages: Of each, NaN where the image lacks its region.
        ranges: The linear range of each, None where it is not linear at all, NaN where the image lacks its region;
            empty where it was not measured.
        evaluations: Spent on the ranges.
    """

    gains: tuple[float, ...]
    leakages: tuple[float, ...]
    ranges: tuple[float | None, ...] = ()
    evaluations: int = 0


def answer(
    operator: Jacobian,
    masks: Sequence[Tensor | None],
    vectors: Tensor,
    regions: Sequence[int],
    ranged: tuple[Callable[[Tensor], Tensor], Tensor] | None = None,
) -> Answer:
    """What an image says to directions [n, D], each of the region of that number.

    With `ranged`, the posterior mean f and the image's (first) point, also how far each is linear there.
    """
    if not len(vectors):
        return Answer((), ())
    nan, responses = float("nan"), operator.mv(vectors)
    gains, leakages = list[float](), list[float]()
    for response, number in zip(responses, regions, strict=True):
        mask = masks[number]
        gains.append(nan if mask is None else float(response[mask].norm()))
        leakage = None if mask is None else leakage_of(response, mask)
        leakages.append(nan if leakage is None else leakage)
    if ranged is None:
        return Answer(tuple(gains), tuple(leakages))
    f, x = ranged
    draws = responses.shape[1] // f(x[None]).numel()
    first = responses[:, : responses.shape[1] // draws] * draws**0.5
    reach, spent = linear_range(f, x, vectors, first, 2 * operator.chunk)
    ranges = tuple(nan if masks[number] is None else one for number, one in zip(regions, reach, strict=True))
    return Answer(tuple(gains), tuple(leakages), ranges, spent + 1)


@dataclass(frozen=True)
class Shaped:
    """What a pool comes to.

    Attributes:
        vectors: All regions' directions, [n, D], those that the projection left enough of.
        regions: The region of each.
        index: Its place among those of its region.
        retained, values, residuals, stability: Of each.
        converged: Whether its region and the rest have.
        refused: What it left too little of, and why.
        spectra: For each region the roots of the Rayleigh quotients of the whole space, and of the rest: [2, n].
    """

    vectors: Tensor
    regions: tuple[int, ...]
    index: tuple[int, ...]
    retained: tuple[float, ...]
    values: tuple[float, ...]
    residuals: tuple[float, ...]
    stability: tuple[float | None, ...]
    converged: tuple[bool, ...]
    refused: tuple[Refusal, ...]
    spectra: tuple[NDArray[np.float32], ...]


def shape_all(
    pool: Pool, recipe: DiscoverRecipe, names: Sequence[str], towards: Sequence[list[Triplets] | None] = ()
) -> Shaped:
    """The directions of every region of a pool whose means are the regions' of these names, then the rests'.

    Where the directions are those toward a number, `towards` are the regions' pulls, of all images and of both halves.
    """
    found, count = pool.solved(), len(pool.ranks) // 2
    halves = [pool.half(number) for number in (0, 1)]
    if towards:
        whole, *each = towards
        found = [*(whole or ()), *found[count:]]
        halves = [
            None if one is None or half is None else [*one, *half[count:]]
            for one, half in zip(each, halves, strict=True)
        ]
    vectors, columns = list[Tensor](), list[tuple[Any, ...]]()
    refused, spectra = list[Refusal](), list[NDArray[np.float32]]()
    for region in range(count):
        rest = count + region

        def of(
            triplets: Sequence[Triplets], half: int | None = None, region: int = region
        ) -> tuple[Tensor, Tensor]:
            def grams() -> tuple[Tensor, Tensor]:
                both = pool.gram(region, half), pool.gram(count + region, half)
                return (positive(both[0]), positive(both[1])) if recipe.images_per_round else both

            return shaped(
                recipe, triplets[region], triplets[count + region], pool.basis, grams, told=bool(towards)
            )

        block, retained = of(found)
        near = agreement(block, [of(one, number)[0] for number, one in enumerate(halves) if one is not None])
        known = all(one is not None for one in halves)
        if not len(block):
            refused.append(Refusal(names[region], 0, "the region responds in none of the images at this t"))
        for k, left in enumerate(retained.tolist()):
            if left < recipe.min_retained:
                refused.append(Refusal(names[region], k, nothing_left(left, recipe)))
                continue
            vectors.append(block[k])
            columns.append(
                (
                    region,
                    k,
                    left,
                    float(found[region].values[k]),
                    float(found[region].residuals[k]),
                    float(near[k]) if known else None,
                    found[region].converged and found[rest].converged,
                )
            )
        roots = [torch.linalg.eigvalsh(pool.gram(p)).flip(0).clamp_min(0).sqrt() for p in (region, rest)]
        spectra.append(torch.stack(roots).cpu().numpy().astype(np.float32))
    block = torch.stack(vectors) if vectors else pool.basis[:0]
    told: list[Any] = [tuple(one) for one in zip(*columns, strict=True)] if columns else [()] * 7
    regions, index, left_over, values, residuals, stability, converged = told
    return Shaped(
        block,
        regions,
        index,
        left_over,
        values,
        residuals,
        stability,
        converged,
        tuple(refused),
        tuple(spectra),
    )


@dataclass(frozen=True)
class Answers:
    """What the images say to the directions.

    Attributes:
        image_ids: The images that have a region, N of them.
        gains, leakages: [N, n], NaN where an image does not have a direction's region.
        ranges: For each direction the linear ranges on some of the images, None where it is not linear at all there.
        weights: [N, R].
        products, evaluations: Spent on all of it.
        certain: Whether J' was a derivative everywhere.
        step, alpha_bar: Of the noise level.
    """

    image_ids: tuple[str, ...]
    gains: NDArray[np.float64]
    leakages: NDArray[np.float64]
    ranges: Sequence[Sequence[float | None]]
    weights: NDArray[np.float64]
    products: int
    evaluations: int
    certain: bool
    step: int
    alpha_bar: float | None


def dataset_basis(
    shaped: Shaped,
    regions: Sequence[Region],
    told: Answers,
    *,
    model: str,
    image_id: str,
    shape: tuple[int, int, int],
    name: str,
    recipe: DiscoverRecipe,
) -> Basis:
    """The directions of a dataset of that name, with what the images say to them: gain and leakage are medians.

    `image_id` stands for all images that were looked at (`loco.direction.images_id`), those without a region included,
    so that a direction's id does not depend on the regions that were asked for beside its own.
    """
    key = basis_id(model, image_id, recipe, tuple(one.id for one in regions))
    share = max(1, len(shaped.vectors))
    directions = []
    for row, (number, index) in enumerate(zip(shaped.regions, shaped.index, strict=True)):
        region = regions[number]
        gains, leakages = (
            column[np.isfinite(column)] for column in (told.gains[:, row], told.leakages[:, row])
        )
        gain = float(np.median(gains))
        directions.append(
            Direction(
                id=direction_id(model, image_id, recipe, region.id, index),
                basis_id=key,
                row=row,
                index=index,
                model=model,
                image_id=image_id,
                roi=region.name,
                roi_id=region.id,
                roi_area=region.area,
                t=recipe.t,
                step=told.step,
                alpha_bar=told.alpha_bar,
                shape=shape,
                singular_value=shaped.values[row],
                residual=shaped.residuals[row],
                converged=told.certain and shaped.converged[row],
                gain=gain,
                leakage=float(np.median(leakages)) if len(leakages) else None,
                retained=shaped.retained[row],
                method="toward" if recipe.toward else "aligned" if recipe.aligned else recipe.method,
                linear_range=_middle(told.ranges[row]),
                products=min(told.products // share, 2**31 - 1),
                evaluations=min(told.evaluations // share, 2**31 - 1),
                prompt=recipe.prompt,
                point=recipe.point,
                scope="dataset",
                images=len(gains),
                coverage=float((gains >= RESPONDS * gain).mean()),
                stability=shaped.stability[row],
            )
        )
    digests = b"".join(bytes.fromhex(one) for one in told.image_ids)
    arrays: dict[str, NDArray[Any]] = {
        "images": np.frombuffer(digests, np.uint8).reshape(len(told.image_ids), -1),
        "weights": told.weights.astype(np.float32),
        "gains": told.gains.astype(np.float32),
        "leakages": told.leakages.astype(np.float32),
    }
    return Basis(
        id=key,
        model=model,
        image_id=image_id,
        image_name=name,
        recipe=recipe,
        rois=tuple(RoiMask(one.id, one.name, one.source, one.mask) for one in regions),
        directions=tuple(directions),
        vectors=shaped.vectors.reshape(-1, *shape).cpu().numpy().astype(np.float32),
        refused=shaped.refused,
        products=min(told.products, 2**31 - 1),
        evaluations=min(told.evaluations, 2**31 - 1),
        arrays=arrays | {f"spectrum.{k}": one for k, one in enumerate(shaped.spectra)},
    )


def _middle(ranges: Sequence[float | None]) -> float | None:
    """The median of linear ranges; None counts as none at all."""
    if not ranges:
        return None
    middle = sorted(0.0 if one is None else one for one in ranges)[(len(ranges) - 1) // 2]
    return float(f"{middle:.4g}") or None
