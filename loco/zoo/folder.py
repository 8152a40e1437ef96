"""Rendered scenes as a folder of files: FOLDER/00000.png and so on, with FOLDER/masks/REGION/00000.png."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.files import write_atomic
from loco.images import encode
from loco.zoo.faces import FACES
from loco.zoo.subject import Scenes, Subject

CHUNK = 64
"""Scenes rendered at a time."""


def scene_name(number: int) -> str:
    """File name of a scene and of its masks."""
    return f"{number:05d}.png"


def write_scenes(
    folder: Path,
    seed: int,
    count: int,
    size: int,
    regions: Sequence[str] = (),
    subject: Subject = FACES,
) -> Iterator[Scenes]:
    """Write the scenes of `subject.scenes(seed, count, size)` and the masks of `regions`.

    Yields them some at a time, after they were written. The mask of a region that a scene lacks is empty.
    Raises `StorageError` when the disk is full or the folder read-only.
    """
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        rows = [subject.sample(np.random.default_rng([seed, i]), 1) for i in numbers]
        scenes = subject.rendered(np.concatenate(rows), size)
        for row, number in enumerate(numbers):
            for region in regions:
                write_atomic(
                    folder / "masks" / region / scene_name(number), _mask_png(scenes.masks[region][row])
                )
            write_atomic(folder / scene_name(number), encode(scenes.images[row], "png"))
        yield scenes


def _mask_png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
