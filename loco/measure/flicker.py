"""Flicker: how much an edit's change moves from frame to frame, against how much the video does."""

import numpy as np
from numpy.typing import NDArray


class Flicker:
    """Mean |(e - s) - (e' - s')| over mean |s - s'| of neighbouring frames, of edited e and source s.

    0: the change stands still. 1: it moves as much as the video. Two frames are in memory.
    """

    def __init__(self) -> None:
        self._source: NDArray[np.int16] | None = None
        self._change: NDArray[np.int16] | None = None
        self._moved = self._flickered = 0.0

    def add(self, source: NDArray[np.uint8], edited: NDArray[np.uint8]) -> None:
        """The next frame, uint8 [H, W, 3], and what was made of it."""
        now = source.astype(np.int16)
        change = edited.astype(np.int16) - now
        if self._source is not None and self._change is not None and self._source.shape == now.shape:
            self._moved += float(np.abs(now - self._source).mean())
            self._flickered += float(np.abs(change - self._change).mean())
        self._source, self._change = now, change

    @property
    def value(self) -> float | None:
        """The figure; None where the video stands still, or has one frame."""
        return self._flickered / self._moved if self._moved else None
