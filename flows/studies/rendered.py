"""The ceiling of the criteria: the renderer's own change of one attribute, brought to the change of all methods.

No method of editing can be more faithful than the renderer, so what the criteria make of it is what they can tell
apart: a pixel change that differs from face to face, and a judge that misreads some. It is no control, and no verdict
is read against it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.evaluation.edits import Edited, Judge, measured
from loco.rois.roi import Roi
from loco.zoo.faces import ATTRIBUTES, render

HALVINGS = 12
"""Of the interval in which the change that is asked for is looked for: 1/4096 of an attribute's range."""

PROBE = 0.1
"""Change of an attribute, in its range, by which the strongest of a region is told."""

_LOW = np.array([one.low for one in ATTRIBUTES], np.float32)
_RANGE = np.array([one.high - one.low for one in ATTRIBUTES], np.float32)
_COLUMN = {one.name: column for column, one in enumerate(ATTRIBUTES)}


def strongest(row: NDArray[np.float32], roi: Roi, names: Sequence[str]) -> str:
    """Of the attributes `names`, the one that changes the region of the face [A] most, per unit of its range."""
    rows = np.repeat(row[None], len(names), axis=0)
    columns = [_COLUMN[name] for name in names]
    # Towards the middle of its range, where there is room for every attribute.
    signs = np.where(row[columns] > (_LOW + _RANGE / 2)[columns], -1.0, 1.0)
    change = _moved(rows, columns, PROBE * signs, roi.mask.shape[0]) - _drawn(rows, roi.mask.shape[0])
    return names[int(np.argmax(_inside(change, [roi] * len(names))))]


def rendered(
    rows: NDArray[np.float32],
    images: Tensor,
    rois: Sequence[Roi],
    names: Sequence[str],
    sign: float,
    target: float,
    judge: Judge | None,
) -> list[Edited]:
    """Edits of faces [B, A], whose images [B, 3, H, W] are, each by the attribute of its name in `names`.

    The attribute moves as far as changes the region by `target`, or to the end of its range: less, where the face has
    no room. The strength is told in ranges of the attribute.
    """
    size, columns = images.shape[-1], [_COLUMN[name] for name in names]
    own = (rows - _LOW)[np.arange(len(rows)), columns] / _RANGE[columns]
    room = np.where(sign > 0, 1 - own, own)
    before = _drawn(rows, size)
    low, high = np.zeros(len(rows)), room.astype(np.float64)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = _inside(_moved(rows, columns, sign * middle, size) - before, rois) >= target
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    change = torch.from_numpy(_moved(rows, columns, sign * high, size) - before).to(images)
    masks = torch.stack([torch.from_numpy(roi.mask.copy()) for roi in rois]).to(images.device)
    strengths = [float(sign * one) if one > 0 else math.nan for one in high]
    return measured(images, change, masks, strengths, None, judge)


def _moved(
    rows: NDArray[np.float32], columns: Sequence[int], by: NDArray[np.floating], size: int
) -> NDArray[np.float32]:
    moved = rows.copy()
    picked = np.arange(len(rows)), list(columns)
    moved[picked] = np.clip(
        moved[picked] + by * _RANGE[columns], _LOW[columns], _LOW[columns] + _RANGE[columns]
    )
    return _drawn(moved, size)


def _drawn(rows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Faces [B, A] as images [B, 3, H, W] in [-1, 1]."""
    return np.moveaxis(render(rows, size).astype(np.float32) / 127.5 - 1, 3, 1)


def _inside(change: NDArray[np.float32], rois: Sequence[Roi]) -> NDArray[np.float64]:
    """RMS change of each region, [B]."""
    masks = np.stack([roi.mask for roi in rois])
    squares = (change.astype(np.float64) ** 2).mean(1) * masks
    return np.asarray(np.sqrt(squares.sum((1, 2)) / np.maximum(masks.sum((1, 2)), 1)))
