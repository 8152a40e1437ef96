"""A contact sheet of basis files: for each the regions it solved, and its directions as pictures. No network needed."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.errors import StorageError
from registry.home import Home
from registry.store import basis_path, read_basis

SHOWN = 12
"""Basis files on a sheet."""

_SIDE, _GAP, _ACROSS = 64, 4, 6


def sheet(home: Home, basis_ids: Sequence[str]) -> bytes:
    """A PNG with one row a basis: its regions in gray levels, then its directions, each scaled to its own range.

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
            rows.append([masks[None], *basis.vectors[: _ACROSS - 1]])
    if not rows:
        return b""
    step = _SIDE + _GAP
    page = Image.new("RGB", (_ACROSS * step + _GAP, len(rows) * step + _GAP), "white")
    for y, row in enumerate(rows):
        for x, planes in enumerate(row):
            page.paste(_tile(planes), (_GAP + x * step, _GAP + y * step))
    data = BytesIO()
    page.save(data, "PNG")
    return data.getvalue()


def _tile(planes: NDArray[np.float32]) -> Image.Image:
    """A picture of [C, H, W], from its least to its greatest value; one or three channels are shown."""
    shown = planes[:3] if len(planes) >= 3 else np.repeat(planes[:1], 3, axis=0)
    low, high = float(shown.min()), float(shown.max())
    scaled = (np.clip((shown - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled.transpose(1, 2, 0))).resize(
        (_SIDE, _SIDE), Image.Resampling.NEAREST
    )
