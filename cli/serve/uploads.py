"""Images that pages send to try something on: in memory, a few at once, never on the disk."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 16
"""Images that are kept; the one used longest ago makes room."""

PIXELS = 16_000_000
"""Pixels of one image, told by its header before anything is decoded."""

SIDE = 2048
"""Longest side that is kept."""


@dataclass(frozen=True, eq=False)
class Upload:
    """An image: sha256 of its bytes, the name it came under, uint8 [H, W, 3]."""

    id: str
    name: str
    pixels: NDArray[np.uint8]


class Uploads:
    """The images of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def take(self, data: bytes, name: str) -> Upload:
        """Keep the image in the bytes of a file; raises `ImageError` for what is none, or larger than is taken."""
        from PIL import Image

        from loco.images import picture_of

        picture = picture_of(data, name, name, PIXELS)
        image = Image.fromarray(picture.pixels)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        kept = Upload(picture.id, name, np.array(image))
        with self._lock:
            self._kept[kept.id] = kept
            self._kept.move_to_end(kept.id)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return kept

    def get(self, key: str) -> Upload | None:
        """An image that is still kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return found
