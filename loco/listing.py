"""What of a folder are images: one walk for datasets and bulk application, which leaves nothing out without a word.

A file is an image by its ending, or by its first bytes where it has none. What cannot be listed, and links that are not
followed, come as entries with a trouble; folders called `masks` hold no images, and whoever asks is told of them.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loco import outside
from loco.errors import ImageError, InputError, StorageError
from loco.images import EXTENSIONS, LOOKS

VIDEOS = {"mp4": "mov", "m4v": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
"""Endings of videos, and the format of each: what a file's content claims to be is not asked."""

CONTAINERS = ("tar", "zip", "parquet", *VIDEOS)
"""Endings of files that hold images."""

ACCEPTED = (
    "a folder, an image, a pattern such as 'photos/**/*.png', a list (.txt, .csv, .tsv, .jsonl, .json), "
    ".tar, .zip and .parquet files, or videos (.mp4, .m4v, .mov, .mkv, .webm, .avi)"
)
"""Where images are taken from, in words."""

MASKS = "masks"
"""A folder of this name holds no images."""


@dataclass(frozen=True)
class Entry:
    """Something below a folder: an image, a file that holds images, or what could not be looked into.

    Attributes:
        name: Relative to the folder, with forward slashes.
        path: Where it is.
        trouble: Why nothing can be read there; empty for what can be tried.
    """

    name: str
    path: Path
    trouble: str = ""

    @property
    def contains(self) -> bool:
        """Whether it holds images, and is none."""
        return is_container(self.name)


def ending(name: str) -> str:
    """What stands behind the last dot, in lower case, or nothing."""
    return PurePosixPath(name).suffix[1:].lower()


def is_container(name: str) -> bool:
    """Whether a file of that name holds images."""
    return ending(name) in CONTAINERS


def looks_like_an_image(name: str) -> bool:
    """Whether a file of that name is an image, or would be called one."""
    base = PurePosixPath(name).name
    return not base.startswith(".") and ending(base) in (*EXTENSIONS, *LOOKS)


def begins_like_an_image(path: Path) -> bool:
    """Whether a regular file's first bytes are those of an image; one that cannot be read is none."""
    try:
        with outside.opened(path) as file:
            head = file.read(32)
    except ImageError:
        return False
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"))
    )


def walk(
    folder: Path,
    skip: Iterable[Path] = (),
    *,
    follow: bool = False,
    containers: bool = False,
    depth: int | None = None,
    keep_masks: bool = False,
    say: Callable[[str], None] | None = None,
) -> Iterator[Entry]:
    """The images below a folder, a folder's own before those of its folders, each by name.

    Leaves out hidden files and folders, folders called `masks` and what is in `skip`. A link to a folder elsewhere is
    read once with `follow`, and an entry with a trouble without; one to a folder within is passed over, for that is
    read anyway. `depth` is how many levels are looked at; `keep_masks` looks into `masks` too; `say` is told of nested
    `masks`. Raises `InputError` where there is no such folder, `StorageError` where it cannot be listed itself.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    root = folder.resolve()
    skipped = {path.resolve() for path in skip}
    if not keep_masks:
        skipped.add(root / MASKS)
    passed = {path.name for path in skipped}
    seen = {root}
    waiting = [(folder, "", 1)]
    while waiting:
        here, prefix, level = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda one: one.name)
        except OSError as error:
            told = f"{here}: cannot be listed ({outside.cause(error)})"
            if not prefix:
                raise StorageError(told) from error
            yield Entry(prefix.rstrip("/"), here, told)
            continue
        below = []
        for one in entries:
            if one.name.startswith("."):
                continue
            path, name = here / one.name, f"{prefix}{one.name}"
            if not _is_folder(one):
                if one.name in passed and path.resolve() in skipped:
                    continue
                # A suffix that is none of ours says what the file is; without one its content must.
                called = looks_like_an_image(one.name) or (containers and is_container(one.name))
                if called or (not ending(one.name) and begins_like_an_image(path)):
                    yield Entry(name, path)
                continue
            if level == depth:
                continue
            real = path.resolve()
            if real in skipped:
                continue
            if one.name == MASKS and not keep_masks:
                if say is not None:
                    say(f"{path}: taken for masks, no images of it are read")
                continue
            if one.is_symlink():
                if real.is_relative_to(root):
                    continue
                if not follow:
                    yield Entry(name, path, f"{path}: leads out of {folder}; copy the folder into it")
                    continue
                if real in seen or root.is_relative_to(real):
                    if say is not None:
                        say(f"{path}: a link to a folder that is read already")
                    continue
            if real not in seen:
                seen.add(real)
                below.append((path, f"{name}/", level + 1))
        waiting += reversed(below)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False
