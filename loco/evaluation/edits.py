"""Edits that change their regions equally, and what is measured of each.

Methods are never compared at equal strength: a strength is a length in x_t, and means something else for each. Every
edit is brought to the same RMS change inside the region of its image, by its first-order response and one correction.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loco.diffusion.denoiser import Denoiser
from loco.edit import change, first_order
from loco.inversion import InversionPath
from loco.measure.metrics import cosine
from loco.rois.roi import Roi

WINDOW = 7
"""Side of the windows that SSIM compares (Wang et al., IEEE TIP 13, 2004)."""

TINY = 1e-12


@dataclass(frozen=True)
class Edited:
    """One edit and its figures.

    Attributes:
        change: What it changed, [3, H, W], in units of [-1, 1].
        strength: With its sign; NaN where the method knows none.
        inside, outside: RMS change of the region and of the rest.
        psnr_outside, ssim_outside: Of the output to the input, outside; PSNR inf where nothing changed.
        linear: Cosine of the change to the first-order response, over the image; NaN where there is none.
        meaning: By how much each of the judge's numbers changed; empty without a judge.
    """

    change: NDArray[np.float32]
    strength: float
    inside: float
    outside: float
    psnr_outside: float
    ssim_outside: float
    linear: float
    meaning: NDArray[np.float32]

    @property
    def leakage(self) -> float:
        """RMS change outside over that inside; inf where nothing changed inside."""
        return self.outside / self.inside if self.inside > TINY else math.inf


Judge = Callable[[Tensor], Tensor]
"""Images [B, 3, H, W] to readings [B, N]."""


def edited(
    denoiser: Denoiser,
    path: InversionPath,
    images: Tensor,
    rois: Sequence[Roi],
    vectors: Tensor,
    sign: float,
    target: float,
    longest: float,
    judge: Judge | None,
) -> list[Edited]:
    """Edits of images [B, 3, H, W], whose path it is, each by its own direction [B, C, H, W] and in its own region.

    An image that does not respond is changed by `longest` times its direction, and by less than `target`.
    """
    masks = torch.stack([torch.from_numpy(roi.mask.copy()) for roi in rois]).to(images.device)
    response = first_order(denoiser, path, vectors)
    strength = (target / _rms(response, masks).clamp_min(TINY)).clamp(max=longest)
    tried = change(denoiser, path, sign * strength[:, None, None, None] * vectors)
    # One step of the secant: close enough for a comparison, and told with the result.
    factor = (target / _rms(tried, masks).clamp_min(TINY)).clamp(1 / 3, 3)
    strength = (strength * factor).clamp(max=longest)
    found = change(denoiser, path, sign * strength[:, None, None, None] * vectors)
    return measured(images, found, masks, (sign * strength).tolist(), sign * response, judge)


def blended(
    images: Tensor, others: Tensor, rois: Sequence[Roi], edges: Tensor, target: float, judge: Judge | None
) -> list[Edited]:
    """The control without a direction: pixels of `others` blended into the regions, softly by `edges` [B, H, W]."""
    masks = torch.stack([torch.from_numpy(roi.mask.copy()) for roi in rois]).to(images.device)
    whole = edges[:, None] * (others - images)
    share = (target / _rms(whole, masks).clamp_min(TINY)).clamp(max=1.0)
    return measured(images, share[:, None, None, None] * whole, masks, [math.nan] * len(images), None, judge)


def measured(
    images: Tensor,
    found: Tensor,
    masks: Tensor,
    strengths: Sequence[float],
    response: Tensor | None,
    judge: Judge | None,
) -> list[Edited]:
    """The figures of changes [B, 3, H, W] of images, with regions [B, H, W]."""
    output = (images + found).clamp(-1, 1)
    actual = output - images
    inside, outside = _rms(actual, masks), _rms(actual, ~masks)
    similar = _ssim(images, output)
    meaning = images.new_zeros((len(images), 0))
    if judge is not None:
        with torch.no_grad():
            meaning = judge(output) - judge(images)
    edits = []
    for k in range(len(images)):
        rest = ~masks[k]
        error = float(outside[k]) ** 2
        edits.append(
            Edited(
                change=_array(actual[k]),
                strength=strengths[k],
                inside=float(inside[k]),
                outside=float(outside[k]),
                psnr_outside=10 * math.log10(4 / error) if error > 0 else math.inf,
                ssim_outside=float(similar[k][rest].mean()) if bool(rest.any()) else math.nan,
                linear=math.nan if response is None else cosine(_array(response[k]), _array(found[k])),
                meaning=_array(meaning[k]),
            )
        )
    return edits


def _rms(change: Tensor, masks: Tensor) -> Tensor:
    """RMS over the pixels of masks [B, H, W] of a change [B, 3, H, W]: [B]; 0 of an empty one."""
    squares = change.double().square().mean(1) * masks
    return (squares.sum((1, 2)) / masks.sum((1, 2)).clamp_min(1)).sqrt().to(change.dtype)


def _ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity about each pixel, [B, H, W], of images in [-1, 1]; uniform windows, mirrored edges."""
    pad = WINDOW // 2

    def mean(values: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(values, (pad,) * 4, mode="reflect")
        return torch.nn.functional.avg_pool2d(padded, WINDOW, stride=1)

    first, second = first.double(), second.double()
    one, two = mean(first), mean(second)
    spread_one, spread_two = mean(first**2) - one**2, mean(second**2) - two**2
    both = mean(first * second) - one * two
    small, large = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    top = (2 * one * two + small) * (2 * both + large)
    bottom = (one**2 + two**2 + small) * (spread_one + spread_two + large)
    return (top / bottom).mean(1)


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()
