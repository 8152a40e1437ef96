"""How a direction does on an image that it was not found on: first order from the Jacobian there, and the edit itself.

With J the Jacobian of the posterior mean at the other image's x_t, M the rows of that image's own region and v the
direction,

    gain      ||M J v||                              what a unit of strength changes in the region, to first order
    leakage   RMS of J v outside / RMS inside        as for the image that it was found on (loco/discover.py)
    alike     cosine of M J v to the mean of M' J' v / ||M' J' v|| over other images, each with its own J' and M': 1
              where the direction does there what it does elsewhere

and of the edit's change d (loco/edit.py): its RMS inside and outside the region, and its cosine to the first-order
change J v, over the whole image: 1 where the edit does what first order says. An image without the feature barely
changes: a small gain is a finding, no failure (LOCO Edit, arXiv 2409.02374, Fig. 9).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from loco.diffusion.codec import Pixels, codec_of
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.sampling import Progress
from loco.direction import WIDE
from loco.inversion import InversionPath
from loco.measure.metrics import cosine, mean_squared_change
from loco.rois.roi import Roi
from loco.rois.rows import rows_of

STEP = 6e-4
"""RMS change of an entry of x_t by the difference that a response is measured with. A sixth of `JacobianOperator`'s:
the error of a forward difference goes with it, and what float32 rounds is still a thousandth of a response."""

BATCH = 64
"""Evaluations at a time."""


def responses(
    denoiser: Denoiser, path: InversionPath, vectors: Tensor, progress: Progress | None = None
) -> Tensor:
    """J v of unit directions [k, C, H, W] at the ends of the complete paths of B images: [B, k, 3, H', W'].

    Forward differences against the means that the paths hold: one evaluation an image and direction, many at once.
    """
    step = STEP * math.sqrt(vectors[0].numel())
    parts = []
    places = [(row, k) for row in range(len(path)) for k in range(len(vectors))]
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        rows, which = [row for row, _ in some], [k for _, k in some]
        parts.append(moved(denoiser, path, rows, step * vectors[which]) / step)
        if progress is not None:
            progress(len(some))
    return torch.cat(parts).reshape(len(path), len(vectors), *parts[0].shape[1:])


def moved(denoiser: Denoiser, path: InversionPath, rows: Sequence[int], displacement: Tensor) -> Tensor:
    """What displacements [n, C, H, W] at the ends of the paths of images `rows` do to the posterior means, decoded."""
    at, codec = list(rows), codec_of(denoiser)
    known = path.means[at, -1]
    with torch.no_grad():
        delta = denoiser.posterior_mean(path.x_t[at] + displacement, path.t) - known
        return delta if isinstance(codec, Pixels) else codec.decode(known + delta) - codec.decode(known)


def mask_of(roi: Roi, response: Tensor) -> Tensor:
    """The region as bool [H, W] at the size of a response and on its device."""
    return rows_of(roi, response.shape, response.device).reshape(response.shape)[0]


def unit_change(response: Tensor, mask: Tensor) -> Tensor:
    """M J v / ||M J v|| of a response [3, H, W]; zero where nothing responds."""
    inside = response * mask
    return inside / inside.norm().clamp_min(torch.finfo(inside.dtype).tiny)


def alike(response: Tensor, mask: Tensor, others: Tensor) -> float | None:
    """Cosine of M J v to the sum of other images' `unit_change`, over the region; None where there are none."""
    there = others * mask
    return cosine((response * mask).cpu().numpy(), there.cpu().numpy()) if bool(there.any()) else None


def figures(response: Tensor, change: Tensor | None, roi: Roi, strength: float = 1.0) -> dict[str, float]:
    """Gain and leakage of a response J v [C, H, W]; RMS inside and outside and cosine of an edit's change [C, H, W].

    `leakage` is left out for a region over `loco.direction.WIDE`, `change_outside` for one of all pixels.
    """
    mask, flat = rows_of(roi, response.shape, response.device), response.flatten()
    inside = float(flat[mask].double().pow(2).mean().sqrt())
    found = {"gain": float(flat[mask].norm()), "roi_area": roi.area}
    if roi.area <= WIDE:
        found["leakage"] = float(flat[~mask].double().pow(2).mean().sqrt()) / max(inside, 1e-30)
    if change is None:
        return found
    edited = np.asarray(change.cpu().numpy())
    within, without = mean_squared_change(edited, roi.mask)
    found["change_inside"] = math.sqrt(within)
    found["cosine"] = cosine(math.copysign(1.0, strength) * response.cpu().numpy(), edited)
    if roi.area < 1:
        found["change_outside"] = math.sqrt(without)
    return found
