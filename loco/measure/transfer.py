"""How a direction does on an image that it was not found on: first order from the Jacobian there, and the edit itself.

With J the Jacobian of the posterior mean at the other image's x_t, M the rows of that image's own region and v the
direction,

    gain      ||M J v||                              what a unit of strength changes in the region, to first order
    leakage   RMS of J v outside / RMS inside        as for the image that it was found on (loco/discover.py)

and of the edit's change d (loco/edit.py): its RMS inside and outside the region, and its cosine to the first-order
change J v, over the whole image: 1 where the edit does what first order says. An image without the feature barely
changes: a small gain is a finding, no failure (LOCO Edit, arXiv 2409.02374, Fig. 9).
"""

import math

import numpy as np
from torch import Tensor

from loco.diffusion.codec import codec_of, seen
from loco.diffusion.denoiser import Denoiser
from loco.direction import WIDE
from loco.linalg.jacobian import JacobianOperator
from loco.measure.metrics import cosine, mean_squared_change
from loco.rois.roi import Roi
from loco.rois.rows import rows_of


def responses(denoiser: Denoiser, x_t: Tensor, t: float, vectors: Tensor) -> Tensor:
    """J v for directions [k, C, H, W] at one point x_t [C, H, W], in pixels: [k, 3, H', W']."""
    operator = JacobianOperator(seen(denoiser, t), x_t)
    return operator.mv(vectors.flatten(1)).reshape(len(vectors), *codec_of(denoiser).image_shape)


def figures(response: Tensor, change: Tensor, roi: Roi, strength: float = 1.0) -> dict[str, float]:
    """Gain and leakage of a response J v [C, H, W]; RMS inside and outside and cosine of an edit's change [C, H, W].

    `leakage` is left out for a region over `loco.direction.WIDE`, `change_outside` for one of all pixels.
    """
    mask, flat = rows_of(roi, response.shape, response.device), response.flatten()
    inside = float(flat[mask].double().pow(2).mean().sqrt())
    outside = float(flat[~mask].double().pow(2).mean().sqrt()) if not bool(mask.all()) else 0.0
    within, without = mean_squared_change(np.asarray(change.cpu().numpy()), roi.mask)
    edited = np.asarray(change.cpu().numpy())
    found = {
        "gain": float(flat[mask].norm()),
        "change_inside": math.sqrt(within),
        "cosine": cosine(math.copysign(1.0, strength) * response.cpu().numpy(), edited),
        "roi_area": roi.area,
    }
    if roi.area <= WIDE:
        found["leakage"] = outside / max(inside, 1e-30)
    if roi.area < 1:
        found["change_outside"] = math.sqrt(without)
    return found
