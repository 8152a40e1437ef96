"""Videos as what holds images: their frames one by one, in the order in which they are shown.

A frame is known by its number. The file is read through once to see which frames it promises and when each is shown;
a frame is then decoded from the nearest point before it from which that is possible, and the next ones cost no more
than themselves. The demuxer follows from the file's ending and never from its content: a playlist under another name
would open what it likes.
"""

import bisect
import contextlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.inputs.places import Source, at, bare, masked
from loco.decoding import MAX_PIXELS
from loco.errors import ImageError, InputError
from loco.listing import VIDEOS, ending
from loco.outside import told

ROOM = 64 * 2**20
"""Bytes of decoded frames that are held, besides the last one."""

MOST = 2_000_000
"""Frames that a video may promise: a day at 24 a second."""


SLACK = Fraction(1, 10)
"""Seconds that a whole file may say it is longer than its packets tell, where no frame is shown for longer."""


@dataclass(frozen=True)
class Promised:
    """What a video's container says.

    Attributes:
        times: When each frame is shown, in units of `base`, rising; empty where the file does not say.
        count: Frames, as many as there are packets.
        base: Seconds of a unit.
        rate: Frames a second on average; None where nobody knows.
        lost: What the file says it has and has not, in words; empty where it is whole, as far as that can be told.
    """

    times: tuple[int, ...]
    count: int
    base: Fraction
    rate: Fraction | None
    lost: str = ""


def frames_in(where: str, stem: str) -> Iterator[Source]:
    """The frames of a video, named `STEM/000000.png` and so on; none is decoded.

    What a file that was cut off has lost is one more, with its trouble. Raises `InputError`.
    """
    with at(where) as file, _opened(where, file) as (_, container, stream):
        found = promised(where, container, stream)
    for number in range(found.count):
        yield Source(f"{stem}/{number:06d}.png", where, "video", number)
    if found.lost:
        yield Source(stem, where, trouble=found.lost)


class Frames:
    """The frames of one video, by number."""

    def __init__(self, place: str) -> None:
        """Raises `InputError` for what is no video."""
        self._place = place
        self._stack = contextlib.ExitStack()
        try:
            file = self._stack.enter_context(at(place))
            opened = self._stack.enter_context(_opened(place, file))
            self._av, self._container, self.stream = opened
            self.promised = promised(place, self._container, self.stream)
        except BaseException:
            self._stack.close()
            raise
        self._turned = False
        self._held: dict[int, NDArray[np.uint8]] = {}
        self._coming: Iterator[Any] = iter(())
        self._next = -1

    def get(self, number: int) -> bytes:
        """A frame as the bytes of a BMP file: the same pixels are the same bytes. Raises `ImageError`."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels(number)).save(buffer, "BMP")
        return buffer.getvalue()

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """A frame upright, uint8 [H, W, 3]; cheapest in order. Raises `ImageError`."""
        if number in self._held:
            return self._held[number]
        try:
            if not self._next <= number or self._far(number):
                self._seek(number)
            while number not in self._held:
                if not self._decode():
                    raise ImageError(self._cut(number))
        except (*self._unsound, self._av.FFmpegError) as error:
            self._next = -1
            raise ImageError(self._shown(number, f"damaged ({told(str(error))})")) from error
        return self._held[number]

    _unsound = (ValueError, RuntimeError, ArithmeticError, LookupError, EOFError, OSError)

    def _far(self, number: int) -> bool:
        """Whether seeking is nearer than going on."""
        return self._next < 0 or (bool(self.promised.times) and number > self._next + 250)

    def _seek(self, number: int) -> None:
        times = self.promised.times
        self._held.clear()
        target = times[number] if number < len(times) else None
        # Without times only the beginning is a point that is known.
        self._container.seek(0 if target is None else target, stream=self.stream, backward=True)
        self._coming = self._container.decode(self.stream)
        self._next = 0 if target is None else -2

    def _decode(self) -> bool:
        """The next frame, into what is held; false at the end."""
        frame = next(self._coming, None)
        if frame is None:
            return False
        times = self.promised.times
        if times:
            if frame.pts is None:
                raise ValueError("a frame does not say when it is shown")
            number = bisect.bisect_left(times, frame.pts)
            if number == len(times) or times[number] != frame.pts:
                raise ValueError("a frame is shown when none was promised")
        else:
            number = self._next
        self._next = number + 1
        if frame.width * frame.height > MAX_PIXELS:
            raise ValueError(
                f"{frame.width} x {frame.height} pixels, more than the {MAX_PIXELS} that are read"
            )
        pixels = frame.to_ndarray(format="rgb24")
        quarters = round(frame.rotation / 90) % 4
        self._turned = quarters % 2 == 1
        self._held[number] = np.ascontiguousarray(np.rot90(pixels, quarters))
        held = sum(one.nbytes for one in self._held.values())
        for old in sorted(self._held)[:-1]:
            if held <= ROOM:
                break
            held -= self._held.pop(old).nbytes
        return True

    @property
    def aspect(self) -> Fraction | None:
        """Width of a pixel over its height in the frames as they were given last; None where nobody knows."""
        told = self.stream.codec_context.sample_aspect_ratio
        if not told:
            return None
        return 1 / Fraction(told) if self._turned else Fraction(told)

    @property
    def shown(self) -> str:
        """Its place, as messages have it."""
        return masked(self._place)

    @contextlib.contextmanager
    def beside(self) -> Iterator[Any]:
        """The same file opened once more, for what else is in it; raises `InputError`."""
        with at(self._place) as file, _opened(self._place, file) as (_, container, _):
            yield container

    def _cut(self, number: int) -> str:
        return self._shown(
            number, f"not there: the video ends after {self._next} of {self.promised.count} frames"
        )

    def _shown(self, number: int, what: str) -> str:
        return f"{masked(self._place)}: frame {number}: {what}"

    def close(self) -> None:
        """Close the video."""
        self._stack.close()


def module() -> ModuleType:
    """PyAV; raises `InputError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            "videos need the extra `video`: pip install 'loco-edit-service[video]'; or take their frames out"
        ) from error
    av.logging.set_level(None)
    return av


def promised(where: str, container: Any, stream: Any) -> Promised:
    """What the packets of a video promise; raises `InputError` for too many, or none."""
    times: list[int | None] = []
    end = Fraction(0)
    # An .mp4 has an index of what it should hold; elsewhere the last packet of all, sound too, shows where a file ends.
    indexed = "mp4" in container.format.name
    with _told(where):
        for packet in container.demux(stream) if indexed else container.demux():
            if not packet.size:
                continue
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                end = max(end, (time + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index == stream.index:
                times.append(packet.pts)
            if len(times) > MOST:
                raise InputError(f"{masked(where)}: more than the {MOST} frames that are read; cut it")
    if not times:
        raise InputError(f"{masked(where)}: a video without a frame")
    known = sorted({one for one in times if one is not None})
    whole = len(known) == len(times)
    base = Fraction(stream.time_base)
    gaps = [(after - before) * base for before, after in itertools.pairwise(known)]
    lasts = Fraction(container.duration or 0, 1_000_000)
    lost = "" if indexed or lasts - end <= max([SLACK, *gaps]) else _lost(where, len(times), end, lasts)
    return Promised(tuple(known) if whole else (), len(times), base, stream.average_rate, lost)


def _lost(where: str, count: int, end: Fraction, lasts: Fraction) -> str:
    return (
        f"{masked(where)}: cut off or damaged after {count} frames: it ends at {float(end):.3f} of "
        f"{float(lasts):.3f} s; what followed is lost"
    )


@contextlib.contextmanager
def _opened(where: str, file: BinaryIO) -> Iterator[tuple[Any, Any, Any]]:
    """PyAV, the container and its first moving picture."""
    av = module()
    with _told(where):
        container = av.open(file, format=VIDEOS[ending(bare(where))])
    with container:
        streams = [one for one in container.streams.video if not one.disposition.value & 0x0400]  # no cover
        if not streams:
            raise InputError(f"{masked(where)}: a video file without moving pictures")
        stream = streams[0]
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise InputError(
                f"{masked(where)}: {context.width} x {context.height} pixels, more than the {MAX_PIXELS} read"
            )
        yield av, container, stream


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """What a demuxer says of a file, as an `InputError`."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, LookupError) as error:  # FFmpegError is one of the first two
        raise InputError(
            f"{masked(where)}: not a video that can be read, or cut off ({told(str(error))})"
        ) from error
