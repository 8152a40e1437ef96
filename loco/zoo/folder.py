"""Rendered faces as a folder of files: FOLDER/00000.png and so on, with FOLDER/masks/REGION/00000.png."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.files import write_atomic
from loco.images import encode
from loco.zoo.faces import Faces, render_faces, sample_attributes

CHUNK = 64
"""Faces rendered at a time."""


def face_name(number: int) -> str:
    """File name of a face and of its masks."""
    return f"{number:05d}.png"


def write_faces(
    folder: Path, seed: int, count: int, size: int, regions: Sequence[str] = ()
) -> Iterator[Faces]:
    """Write the faces of `loco.zoo.faces.faces(seed, count, size)` and the masks of `regions`.

    Yields the faces some at a time, after they were written. The mask of a region that a face lacks is empty.
    Raises `StorageError` when the disk is full or the folder read-only.
    """
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        rows = [sample_attributes(np.random.default_rng([seed, i]), 1) for i in numbers]
        faces = render_faces(np.concatenate(rows), size)
        for row, number in enumerate(numbers):
            for region in regions:
                write_atomic(
                    folder / "masks" / region / face_name(number), _mask_png(faces.masks[region][row])
                )
            write_atomic(folder / face_name(number), encode(faces.images[row], "png"))
        yield faces


def _mask_png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
