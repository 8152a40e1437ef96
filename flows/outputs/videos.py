"""Edited frames put together again: for each video and edit one `VIDEO__EDIT.mp4` beside the frames.

Videos are exports, as the manifest's table is: the frames are what the manifest vouches for, and a video is made anew
when they changed. It keeps its source's times, size and sound. `videos.json` in the folder says of each what it was
made of and by how much its change flickers. A frame whose edit failed is the source's own, and counted.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from flows.inputs.places import local_path
from flows.inputs.videos import Frames, module
from flows.outputs import ledger
from flows.outputs.outputs import MANIFEST, check_manifest_name
from loco.errors import ImageError, InputError, LocoError
from loco.files import reading_errors, storage_errors, write_atomic, writing
from loco.ids import content_id, file_id
from loco.images import read_image
from loco.listing import VIDEOS, ending
from loco.measure.flicker import Flicker
from loco.outside import is_text, printable, regular_bytes

INDEX = "videos.json"
"""What the videos of a folder are, as `Clip`s."""

CODEC, QUALITY = "libx264", {"crf": "16", "preset": "medium"}
"""Visually lossless; frames without any loss are the files beside."""

SOUNDS = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
"""Kinds of sound that an .mp4 holds as they are."""

Say = Callable[[str], None]
Fail = Callable[[str, str, str], None]
Pixels = NDArray[np.uint8]
Group = tuple[str, str, str]
"""What the frames of one video share: its source, the beginning of its name, and the edit."""


@dataclass(frozen=True)
class Clip:
    """A video that was put together.

    Attributes:
        file: Its name in the folder.
        source: The video that its frames come from, or the folder of the images.
        edit: Label and strength, as names of outputs have them.
        frames: How many it has.
        kept: How many of them are the source's own, for their edit failed or made no file.
        flicker: Mean change of the change between neighbouring frames over that of the source; None where that stands
            still.
        made_of: Identity of all frames; the video is made anew when it changes.
        checksum: sha256 of the file.
    """

    file: str
    source: str
    edit: str
    frames: int
    kept: int
    flicker: float | None
    made_of: str
    checksum: str


@dataclass(frozen=True)
class _Frame:
    order: tuple[Any, ...]
    number: int
    output: str
    checksum: str
    place: str


def assemble(
    folder: Path,
    manifest: str = MANIFEST,
    *,
    rate: Fraction | None = None,
    say: Say = lambda _: None,
    fail: Fail = lambda *_: None,
) -> list[Clip]:
    """Put the frames together that the manifest of an output folder vouches for, and return what is there then.

    With `rate` the images of folders are frames, too, in the order of their names, so many a second. What cannot be put
    together costs none of the others: `fail` is told of it, with source, name and cause, and `say` of all else. Raises
    `InputError` where there is no manifest, or no PyAV.
    """
    path = folder / f"{check_manifest_name(manifest)}.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no manifest; expected the output folder of `loco apply`")
    groups = _groups(path, rate is not None, say)
    if not groups:
        return []
    module()
    known = {clip.file: clip for clip in read_index(folder)}
    names = _names(groups, known.values())
    sharing = _sharing(groups, known.values())
    found: dict[str, Clip] = {}
    for (source, stem, edit), frames in sorted(groups.items()):
        name = names[source, stem, edit]
        made_of = content_id("video", [source, str(rate), [(one.output, one.checksum) for one in frames]])
        clip, target = known.get(name), folder / name
        try:
            if clip is None and _taken(target):
                there = f"{target} is there, and {INDEX} does not say that it is ours: it stays as it is; move it away"
                fail(source, name, there)
                continue
            if clip is not None and _is(target, clip.checksum):
                gave_way = len(frames) < clip.frames and len(sharing[stem, edit]) > 1
                if gave_way:
                    say(f"{name} stays as it is: frames of it gave way to those of another video of its name")
                if gave_way or clip.made_of == made_of:
                    found[name] = clip
                    continue
            if not any(one.checksum for one in frames):
                say(f"{name} is not made: none of its {len(frames)} frames was edited")
                continue
            say(f"putting {len(frames)} frames together: {name}")
            found[name] = _assembled(folder, name, source, edit, frames, rate, made_of, say)
        except (LocoError, OSError) as error:
            fail(source, name, str(error))
            continue
        write_index(folder, {**known, **found})
    if {**known, **found} != known:
        write_index(folder, {**known, **found})
    return [found[name] for name in sorted(found)]


def read_index(folder: Path) -> list[Clip]:
    """The videos that the folder's index names; none where there is no index, or it is none of ours."""
    with reading_errors(folder / INDEX):
        try:
            told = json.loads(regular_bytes(folder / INDEX))
            clips = [Clip(**one) for one in told["videos"]]
            return [one for one in clips if isinstance(one.file, str) and type(one.frames) is int]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return []


def write_index(folder: Path, clips: dict[str, Clip]) -> None:
    """Write the index whole; raises `StorageError`."""
    told = {"videos": [asdict(clips[name]) for name in sorted(clips)]}
    write_atomic(folder / INDEX, json.dumps(told, indent=1).encode())


def _taken(path: Path) -> bool:
    """Whether something has that name; raises `StorageError` for a name that nothing can have."""
    with reading_errors(path), suppress(FileNotFoundError):
        path.lstat()
        return True
    return False


def _is(path: Path, checksum: str) -> bool:
    with suppress(OSError):
        return file_id(path) == checksum
    return False


def _groups(manifest: Path, loose: bool, say: Say) -> dict[Group, list[_Frame]]:
    """Frames by source, beginning of the video's name and edit, each in order; with `loose` also single images.

    Lines whose names lead out of the folder are told and passed over: videos are written where those names say.
    """
    last: dict[str, dict[str, Any]] = {}
    outside: list[str] = []
    with storage_errors(manifest):
        for line, _ in ledger.lines(manifest):
            if not line.get("shard"):
                out = [one for one in (line["output"], line["image_name"]) if _leads_out(one)]
                outside += out[:1]
                if not out:
                    last[line["output"]] = line
    if outside:
        say(
            f"{manifest}: {len(outside)} lines name what is not in the folder ({printable(outside[0])}) and are passed "
            f"over; somebody changed them"
        )
    groups: dict[Group, list[_Frame]] = {}
    for output, line in last.items():
        image, place = str(line["image_name"]), str(line.get("source", ""))
        stem, edit = _parts(output, image)
        held, colon, _ = place.rpartition(f":{image.partition('/')[2]}")  # as `place_of` has it
        folder, _, base = stem.rpartition("/")
        if colon and ending(held) in VIDEOS and re.fullmatch(r"\d{6,}", Path(image).stem):
            number = int(Path(image).stem)
            key, order, place = (held, folder, edit), (number,), held
        elif loose and local_path(place) is not None:
            number = 0
            key, order = (str(Path(place).parent), folder, edit), _natural(base)
        else:
            continue
        groups.setdefault(key, []).append(_Frame(order, number, output, ledger.vouched(line), place))
    return {key: _once(frames) for key, frames in groups.items()}


def _leads_out(name: str) -> bool:
    """Whether a name is none of a file below the folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not is_text(name)


def _once(frames: list[_Frame]) -> list[_Frame]:
    """Each frame once, in order: what was made of it last, of what there is."""
    last: dict[tuple[str, int], _Frame] = {}
    for one in frames:
        key = (one.place, one.number)
        if one.checksum or key not in last:
            last[key] = one
    return sorted(last.values(), key=lambda one: one.order)


def _sharing(groups: Iterable[Group], clips: Iterable[Clip]) -> dict[tuple[str, str], set[str]]:
    """The sources whose videos would be of one name, by the beginning of that and the edit."""
    found: dict[tuple[str, str], set[str]] = {}
    for source, stem, edit in groups:
        found.setdefault((stem, edit), set()).add(source)
    for (stem, edit), sources in found.items():
        sources |= {clip.source for clip in clips if _rank(clip, clip.source, stem, edit) is not None}
    return found


def _names(groups: Iterable[Group], clips: Iterable[Clip]) -> dict[Group, str]:
    """The videos' names: as names of outputs are, with the source's ending where two would share one, then with `~2`.

    A source keeps the name that its video has in the folder, and none gets that of another's.
    """
    clips = list(clips)
    groups = sorted(groups)
    names: dict[Group, str] = {}
    taken = {clip.file for clip in clips}
    for group in groups:
        own = [(rank, clip.file) for clip in clips if (rank := _rank(clip, *group)) is not None]
        if own:
            names[group] = min(own)[1]
    shared = _sharing(groups, clips)
    for group in groups:
        source, stem, edit = group
        if group in names:
            continue
        rank = 0 if len(shared[stem, edit]) == 1 else 1
        while (name := _name(source, stem, edit, rank)) in taken:
            rank += 1
        names[group] = name
        taken.add(name)
    return names


def _name(source: str, stem: str, edit: str, rank: int) -> str:
    """The name of rank 0 is the plain one, 1 has the source's ending, and from 2 on a number."""
    last = ending(source) if rank and ending(source) in VIDEOS else ""
    number = f"~{rank}" if rank > 1 else ""
    return f"{stem or 'frames'}{'.' if last else ''}{last}{number}{edit}.mp4"


def _rank(clip: Clip, source: str, stem: str, edit: str) -> int | None:
    """Which of a group's names a clip has that is of its source; None for one of another."""
    if clip.source != source or clip.edit != edit.removeprefix("__"):
        return None
    found = re.search(r"~(\d{1,6})$", clip.file.removesuffix(f"{edit}.mp4"))
    rank = int(found[1]) if found else 0
    return next((one for one in (rank, 0, 1) if _name(source, stem, edit, one) == clip.file), None)


def _parts(output: str, image: str) -> tuple[str, str]:
    """What an output's name begins with, and its edit: `__LABEL__+4`."""
    stem = output.rpartition(".")[0]
    begin = str(Path(image).with_suffix(""))
    if stem.startswith(f"{begin}__"):
        return begin, stem.removeprefix(begin)
    renamed = re.match(r"(~+\d+)?(?=__)", stem.removeprefix(image))  # for another image had the name
    if stem.startswith(image) and renamed:
        return image + renamed[0], stem.removeprefix(image + renamed[0])
    head, mark, tail = stem.partition("__")
    return head, mark + tail


def _natural(base: str) -> tuple[Any, ...]:
    """An order of names in which 10 comes after 9."""
    return tuple((int(one), "") if one.isdigit() else (0, one) for one in re.split(r"(\d+)", base))


def _assembled(
    folder: Path,
    name: str,
    source: str,
    edit: str,
    frames: list[_Frame],
    rate: Fraction | None,
    made_of: str,
    say: Say,
) -> Clip:
    flicker, kept = Flicker(), 0

    def shown() -> Iterator[Pixels]:
        nonlocal kept
        for one in frames:
            before = read(one)
            after = _output(folder, one, before)
            kept += after is None
            flicker.add(before, before if after is None else after)
            yield before if after is None else after

    with ExitStack() as stack:
        video = None
        if ending(source) in VIDEOS and not Path(source).is_dir():
            video = Frames(source)
            stack.callback(video.close)

        def read(one: _Frame) -> Pixels:
            return read_image(Path(one.place)).pixels if video is None else video.pixels(one.number)

        with writing(folder / name) as file:
            _encode(file, shown(), [one.number for one in frames], video, rate, say)
    return Clip(
        name,
        source,
        edit.removeprefix("__"),
        len(frames),
        kept,
        None if flicker.value is None else round(flicker.value, 4),
        made_of,
        file_id(folder / name),
    )


def _output(folder: Path, one: _Frame, before: Pixels) -> Pixels | None:
    """An edited frame, or None where there is none of its source's size."""
    if not one.checksum:
        return None
    try:
        pixels = read_image(folder / one.output).pixels
    except ImageError:
        return None
    return pixels if pixels.shape == before.shape else None


def _encode(
    file: BinaryIO,
    frames: Iterator[Pixels],
    numbers: list[int],
    video: Frames | None,
    rate: Fraction | None,
    say: Say,
) -> None:
    """Write frames as H.264 in an .mp4, shown when those of `video` are, or `rate` a second; with its sound."""
    av = module()
    base, times, average = _times(numbers, video, rate)
    first = next(frames)
    height, width = first.shape[:2]
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream(CODEC, rate=average, options=QUALITY)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context = stream.codec_context
        context.time_base = base
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1
        if video is not None and video.aspect:
            context.sample_aspect_ratio = video.aspect
        begin, end = _heard(numbers, video, average)
        sound = _Sound(out, video, begin, say)
        try:
            for number, pixels in enumerate(_whole(first, frames)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame = frame.reformat(
                    format=stream.pix_fmt,
                    dst_colorspace="ITU709",
                    src_color_range="JPEG",
                    dst_color_range="MPEG",
                )
                frame.pts, frame.time_base = times[number], base
                sound.until(times[number] * base)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            sound.until(end - begin)
        except (av.FFmpegError, ValueError) as error:
            raise ImageError(f"cannot be encoded ({error})") from error
        finally:
            sound.close()


def _whole(first: Pixels, frames: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    for one in frames:
        if one.shape != first.shape:
            raise ImageError(
                f"frames of one video are of one size: expected {first.shape[1]} x {first.shape[0]}, found "
                f"{one.shape[1]} x {one.shape[0]}"
            )
        yield one


def _times(
    numbers: list[int], video: Frames | None, rate: Fraction | None
) -> tuple[Fraction, list[int], Fraction]:
    """Unit of time, when each frame is shown in it, and frames a second on average."""
    if video is None or not video.promised.times:
        average = rate or (video.promised.rate if video is not None else None) or Fraction(25)
        return 1 / average, list(range(len(numbers))), average
    known = video.promised.times
    return (
        video.promised.base,
        [known[one] - known[numbers[0]] for one in numbers],
        video.promised.rate or Fraction(25),
    )


def _heard(numbers: list[int], video: Frames | None, average: Fraction) -> tuple[Fraction, Fraction | float]:
    """From which second of its source on a video is heard, and up to which: all, where the last frame is its last."""
    if video is None:
        return Fraction(0), math.inf
    known, base = video.promised.times or range(video.promised.count), 1 / average
    if video.promised.times:
        base = video.promised.base
    after = numbers[-1] + 1
    return known[numbers[0]] * base, known[after] * base if after < len(known) else math.inf


class _Sound:
    """The sound of a video from the second `begin` on, packet by packet, as far as the pictures have come."""

    def __init__(self, out: Any, video: Frames | None, begin: Fraction, say: Say) -> None:
        self._begin = begin
        self._stack = ExitStack()
        self._out, self._packets, self._waiting = out, iter(()), None
        if video is None:
            return
        container = self._stack.enter_context(video.beside())
        tracks = [one for one in container.streams.audio if one.codec_context is not None]
        kept = [one for one in tracks if one.codec_context.name in SOUNDS]
        for one in tracks:
            if one not in kept:
                say(
                    f"{video.shown}: its sound ({one.codec_context.name}) is of a kind that an .mp4 does not hold"
                )
        self._to = {one.index: out.add_stream_from_template(one) for one in kept}
        if kept:
            self._packets = container.demux(*kept)

    def until(self, seconds: Fraction | float) -> None:
        """Write what is heard before that time, in seconds after the first picture."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if packet.dts is None:
                continue
            time = packet.dts * packet.time_base - self._begin
            if time >= seconds:
                self._waiting = packet
                return
            # One more than is heard: a decoder needs it for the first one, and what lies before 0 is not played.
            if time + 2 * (packet.duration or 0) * packet.time_base <= 0:
                continue
            self._shift(packet)
            packet.stream = self._to[packet.stream.index]
            self._out.mux(packet)

    def _shift(self, packet: Any) -> None:
        """Let it be heard as long after the first picture as in the source; once for each packet."""
        units = round(self._begin / packet.time_base)
        packet.dts -= units
        packet.pts = packet.dts if packet.pts is None else packet.pts - units

    def close(self) -> None:
        """Close the source."""
        self._stack.close()
