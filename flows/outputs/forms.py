"""How edited images are written: as single files, or as members of shards (tar as in WebDataset, or Parquet).

A shard is as large as the one that its images came from and has its name; single images go to shards of `IMAGES`, or
all to the one file that was named. An output's name is `SHARD:MEMBER`, which no name of a file looks like: `:` is
never in a shard's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from flows.inputs.places import bare, local_path
from loco.errors import InputError
from loco.formats import FORMATS, Format, format_of
from loco.outside import printable

SHARDS: Mapping[str, str] = MappingProxyType({"webdataset": "tar", "parquet": "parquet"})
"""Kinds of shards, and how their files end."""

CHOICES = (*FORMATS, *SHARDS, *(f"{kind}:{image}" for kind in SHARDS for image in FORMATS if image != "png"))
"""What `--format` can be."""

IMAGES = 1000
"""Single images whose outputs go to one shard."""

_ESCAPED = {ord(one): f"%{ord(one):02X}" for one in "%.\\"}


@dataclass(frozen=True)
class Form:
    """How outputs are written.

    Attributes:
        image: The format of each.
        shards: How shards end, `tar` or `parquet`; empty for single files.
        one: Name, without its ending, of the one file that everything goes to; empty for shards like those read.
    """

    image: Format = "png"
    shards: str = ""
    one: str = ""

    def shard(self, held_in: str, position: int) -> str:
        """The shard of the outputs of an image: `held_in` is what it came from, `position` its place in the list."""
        if not self.shards:
            return ""
        path = PurePosixPath(held_in)
        sound = (
            held_in and not path.is_absolute() and ".." not in path.parts and printable(held_in) == held_in
        )
        stem = self.one or (path.as_posix() if sound else f"images-{position // IMAGES:05d}")
        return f"{stem.replace(':', '%3A')}.{self.shards}"

    def stem(self, stem: str, held_in: str, shard: str) -> str:
        """The beginning of an image's output names, from that without shards."""
        if not self.shards:
            return stem
        inside = stem if self.one else stem.removeprefix(f"{PurePosixPath(held_in).as_posix()}/")
        folder, _, base = inside.rpartition("/")
        return f"{shard}:{folder.translate(_SLASHES)}{'/' if folder else ''}{self.escaped(base)}"

    def escaped(self, base: str) -> str:
        """A member's name without its folder and ending: in a WebDataset the first dot ends the sample's key."""
        return base.translate(_ESCAPED) if self.shards == "tar" else base


_SLASHES = {ord("\\"): "%5C"}
"""Some systems would take it for the end of a folder."""


def shard_of(output: str) -> str:
    """The shard of an output that is a member."""
    return output.partition(":")[0]


def member_of(output: str) -> str:
    """Its name in there."""
    return output.partition(":")[2]


def form_of(format: str, out: Path | str) -> Form:
    """What `--format` and the name behind `--out` come to; raises `InputError` for what does not go together."""
    kind, colon, inner = format.partition(":")
    if kind in SHARDS:
        form = Form(format_of(inner) if colon else "png", SHARDS[kind])
    elif colon:
        raise InputError(f"format must be one of {', '.join(CHOICES)}, found {format!r}")
    else:
        form = Form(format_of(format))
    path = PurePosixPath(bare(str(out)))
    ending = path.suffix[1:]
    if ending not in SHARDS.values() or _is_folder(out):
        return form
    if form.shards not in ("", ending):
        raise InputError(f"--out {path.name} ends in .{ending}, --format {format} gives .{form.shards} files")
    if ":" in path.stem:
        raise InputError(f"--out {path.name}: a shard's name has no ':'")
    return Form(form.image, ending, path.stem)


def folder_of(out: Path | str, form: Form) -> str:
    """The folder or URL that the files lie in."""
    path = local_path(str(out))
    if not form.one:
        return str(out)
    return str(out).partition("?")[0].rpartition("/")[0] if path is None else str(path.parent)


def _is_folder(out: Path | str) -> bool:
    path = local_path(str(out))
    return path is not None and path.is_dir()
