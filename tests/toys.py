"""Small models and operators whose answers are known: dense algebra is the oracle of products."""

import numpy as np
import torch

from loco.rois.roi import Roi
from tests.gaussian import GaussianDenoiser


class Dense:
    """The operator of a matrix A [D, D]; vectors are rows."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.size = matrix.shape[1]
        self.dtype = matrix.dtype
        self.products = 0

    def mv(self, v):
        self.products += len(v)
        return v @ self.matrix.T

    def rmv(self, u):
        self.products += len(u)
        return u @ self.matrix


def orthonormal(rows, size, generator):
    """`rows` orthonormal rows in R^size."""
    draw = torch.randn(size, rows, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(draw)[0].T


def with_spectrum(size, mask, inside, outside, seed=0):
    """A [size, size] whose rows under `mask` have singular values `inside`, and the other rows `outside`."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for rows, spectrum in ((mask, inside), (~mask, outside)):
        values = torch.tensor(spectrum, dtype=torch.float64)
        left = orthonormal(len(values), int(rows.sum()), generator)
        right = orthonormal(len(values), size, generator)
        matrix[rows] = left.T @ (values[:, None] * right)
    return matrix


def gaussian(factors, mean=None, noise=0.0):
    """A Gaussian over [C, H, W] with covariance F'F + noise I, for factors F [r, C, H, W]."""
    flat = factors.flatten(1)
    covariance = flat.T @ flat + noise * torch.eye(flat.shape[1], dtype=flat.dtype)
    return GaussianDenoiser(
        torch.zeros(factors.shape[1:], dtype=flat.dtype) if mean is None else mean, covariance
    )


def factors(count, shape, seed=0):
    """`count` random factors [count, C, H, W], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def box(name, shape, top, bottom, left, right):
    """The region of a box at size (H, W) of `shape`."""
    mask = np.zeros(shape[1:], np.bool_)
    mask[top:bottom, left:right] = True
    return Roi(name, mask, "test")


def rows(roi, shape):
    """The region's rows of a Jacobian on `shape`, [C * H * W] bool."""
    return torch.from_numpy(np.broadcast_to(roi.mask, shape).copy()).flatten()


def angle(first, second):
    """Sine of the largest principal angle between the spans of orthonormal rows of equal number."""
    assert first.shape == second.shape
    return float(torch.linalg.matrix_norm(first - first @ second.T @ second, 2)) if len(first) else 0.0


def tiny_network(**changes):
    """An untrained U-Net with an attention block, about 45,000 weights."""
    from diffusers import UNet2DModel

    options = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    torch.manual_seed(0)
    return UNet2DModel(**(options | changes))


def save_pipeline(folder, *, network=None, **noise):
    """A diffusers pipeline folder around `network`; `noise` goes to its scheduler."""
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(network or tiny_network(), DDPMScheduler(**noise)).save_pretrained(str(folder))
    return folder
