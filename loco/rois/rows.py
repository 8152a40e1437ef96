"""Regions as rows of the Jacobian."""

from collections.abc import Sequence

import torch
from torch import Tensor

from loco.rois.roi import Roi


def rows_of(roi: Roi, shape: Sequence[int], device: torch.device) -> Tensor:
    """The rows [C * H * W] bool, on that device, of a Jacobian whose values have `shape` (C, H, W).

    A region of another size is brought to H x W, nearest neighbour; raises `RoiAbsent` where that leaves no pixel.
    """
    channels, height, width = shape
    mask = torch.from_numpy(roi.at(height, width).mask.copy()).to(device)
    return mask.expand(channels, height, width).flatten()
