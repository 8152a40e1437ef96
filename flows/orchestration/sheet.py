"""A contact sheet of basis files: for each the regions it solved, and its directions as pictures. No network needed."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.errors import StorageError
from registry.files.basis import basis_path, read_basis
from registry.home import Home

SHOWN = 12
"""Basis files on a sheet."""

_SIDE, _GAP, _ACROSS = 64, 4, 6


def sheet(home: Home, basis_ids: Sequence[str]) -> bytes:
    """A PNG with one row a basis: its regions in gray levels, then its directions, zero in middle gray.

    Empty when none of the files can be shown.
    """
    rows = []
    for basis_id in basis_ids[-SHOWN:]:
        try:
            basis = read_basis(basis_path(home, basis_id))
        except StorageError:
            continue  # `loco registry verify` tells of it
        masks = sum(
            ((k + 1) * roi.mask.astype(np.float32) for k, roi in enumerate(basis.rois)), np.float32(0)
        )
        if isinstance(masks, np.ndarray):
            directions = basis.vectors[: _ACROSS - 1]
            rows.append([_tile(masks[None] / masks.max()), *map(_tile, map(_about_gray, directions))])
    if not rows:
        return b""
    step = _SIDE + _GAP
    page = Image.new("RGB", (max(map(len, rows)) * step + _GAP, len(rows) * step + _GAP), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            page.paste(tile, (_GAP + x * step, _GAP + y * step))
    data = BytesIO()
    page.save(data, "PNG")
    return data.getvalue()


def _about_gray(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A direction between 0 and 1: zero is 0.5, so that what is left alone looks alike in all."""
    shown = vector[:3]
    gray: NDArray[np.float32] = 0.5 + 0.5 * shown / max(float(np.abs(shown).max()), 1e-12)
    return gray


def _tile(planes: NDArray[np.float32]) -> Image.Image:
    """A picture of [C, H, W] between 0 and 1; one or three channels are shown."""
    shown = planes[:3] if len(planes) >= 3 else np.repeat(planes[:1], 3, axis=0)
    scaled = (np.clip(shown, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled.transpose(1, 2, 0))).resize(
        (_SIDE, _SIDE), Image.Resampling.NEAREST
    )
