"""The home folder: what everything of one installation consists of, in one table."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from loco.files import is_partial, keep_private


@dataclass(frozen=True)
class Part:
    """Some files of a home.

    Attributes:
        pattern: Their paths in the home, a pattern a level; `**` at the end is everything below.
        what: What they are, for people.
        kind: `truth` (lost means lost), `index` or `cache` (made again from the truth, or by working again), `lock`
            (of running processes; empty of meaning when none runs), `secret` (in no backup; said again), `foreign`
            (another program's).
        kept: Whether a backup has them.
        checked: What finds out that one is damaged.
    """

    pattern: str
    what: str
    kind: str
    kept: bool
    checked: str


_VERIFY = "verify"
_ROWS = "verify, against the catalogue"

PARTS = (
    Part("catalogue.duckdb", "the index of all the rest", "index", True, _ROWS),
    Part(
        "catalogue.duckdb.wal", "what a killed writer left for the next one to take in", "index", True, _ROWS
    ),
    Part("catalogue.duckdb.*", "locks in front of it", "lock", False, "nothing is in them"),
    Part(
        "bases/??/*.safetensors",
        "direction vectors, masks, recipe and evidence of one image each",
        "truth",
        True,
        _ROWS,
    ),
    Part(
        "bases/??/found.jsonl",
        "when those were found and how long it took: never in the files, which are the same bytes whenever the same "
        "work is done on a machine",
        "truth",
        True,
        _ROWS,
    ),
    Part("models/*.json", "registered models (their weights stay where they are)", "truth", True, _ROWS),
    Part(
        "adapted/*/adapted.json",
        "which adapters registered models have, on which base (both stay where they are)",
        "truth",
        True,
        _VERIFY,
    ),
    Part(
        "converted/**",
        "models that were single files or pickled, as folders; made again from those by adding them again",
        "cache",
        False,
        "its model, when it is opened",
    ),
    Part(
        "measured/*.json",
        "seconds and memory of one evaluation of a model, for limits; measured again when it is added",
        "cache",
        True,
        "they are measured again",
    ),
    Part("datasets/*.json", "registered datasets (their images stay where they are)", "truth", True, _ROWS),
    Part("runs/*/manifest.jsonl", "one line an item, and the run's own record", "truth", True, _ROWS),
    Part("runs/*/log.txt", "what a run said, with the time", "truth", True, "whoever reads it"),
    Part("runs/*/progress.json", "how far a run is that works", "cache", False, "it goes with its run"),
    Part(
        "runs/*/rounds.safetensors",
        "how far a discovery across a dataset is, after each round",
        "cache",
        False,
        "the rounds are done again",
    ),
    Part(
        "runs/*/block.safetensors", "what its present round asks about", "cache", False, "it is written again"
    ),
    Part(
        "runs/*/sums-*.safetensors",
        "what a chunk of its images adds up to",
        "cache",
        False,
        "they go with its run",
    ),
    Part("runs/*/stop", "that a run is to end, and why", "lock", False, "it goes with its run"),
    Part(
        "runs/*/newest.png", "the picture of a run's latest directions", "cache", False, "it is drawn again"
    ),
    Part(
        "history/directions.jsonl", "labels, aliases, rejections; only ever appended to", "truth", True, _ROWS
    ),
    Part(
        "transfers/??.jsonl",
        "how directions do on images that they were not found on, and their strengths; only ever appended to",
        "truth",
        True,
        _ROWS,
    ),
    Part(
        "store.json", "a shared store for basis files, and the type of stored vectors", "truth", True, _VERIFY
    ),
    Part("registry.secret", "passwords of catalogues on servers", "secret", False, "whoever reads it"),
    Part("lists/*.json", "lists of directions that somebody made, and kept views", "truth", True, _VERIFY),
    Part("lists/.lock", "a lock in front of those", "lock", False, "nothing is in it"),
    Part("serve.tokens", "hashes of tokens for `loco serve`", "secret", False, "whoever reads it"),
    Part("serve.lock", "a lock in front of those", "lock", False, "nothing is in it"),
    Part("applied/**", "images that jobs of the page made, a folder a run", "truth", True, "their manifest"),
    Part(
        "schedules/*.json", "schedules; the server's deployments are made from them", "truth", True, _VERIFY
    ),
    Part("schedules/.*", "locks of schedules' runs", "lock", False, "nothing is in them"),
    Part("masks/??/*.png", "what segmentation models say of images, by content", "cache", True, _VERIFY),
    Part("outputs/*.jsonl", "manifests of output folders that are URLs", "truth", True, _VERIFY),
    Part("outputs/*.parquet", "the same as tables", "cache", True, "they are written again"),
    Part("outputs/*.claims", "names that unfinished runs have taken there", "truth", True, _VERIFY),
    Part("outputs/*.claims-*", "SQLite's own beside those", "lock", False, "SQLite"),
    Part(
        "outputs/*.staged/*",
        "members of shards that go to a URL and are not complete",
        "cache",
        False,
        "they are made again",
    ),
    Part("cache/sketches-*/*", "all sketches in one matrix; may be deleted", "cache", False, _ROWS),
    Part(
        "cache/pictures/??/*.png",
        "pictures of directions; may be deleted",
        "cache",
        False,
        "whoever reads it",
    ),
    Part(
        "cache/snapshots/*.duckdb",
        "a copy to be asked in SQL; may be deleted",
        "cache",
        False,
        "whoever reads it",
    ),
    Part(
        "steps/*.json",
        "solver steps that were measured for jobs",
        "cache",
        True,
        "they are measured again",
    ),
    Part("steps/*.lock", "locks in front of those", "lock", False, "nothing is in them"),
    Part(
        "cache/??/*.safetensors",
        "inverted images and levels of `loco analyze`; may be deleted",
        "cache",
        False,
        "whoever reads it",
    ),
    Part("spool/*", "what runs note while they work", "cache", False, "it goes with its run"),
    Part("demo/**", "the demonstration's images", "cache", True, "its dataset, when an image is read"),
    Part("prefect/**", "the Prefect server's files, log and server.json", "foreign", False, "nothing"),
)
"""What a home consists of. What fits no pattern does not belong there; of several the first counts."""


def part_of(path: PurePosixPath) -> Part | None:
    """The part that a file's path in the home belongs to, or None for a foreign file."""
    return next((part for part in PARTS if _fits(path.parts, part.pattern.split("/"))), None)


def _fits(parts: tuple[str, ...], pattern: list[str]) -> bool:
    if pattern[-1] == "**":
        pattern = pattern[:-1]
        if len(parts) <= len(pattern):
            return False
        parts = parts[: len(pattern)]
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


@dataclass(frozen=True)
class Home:
    """Paths of one home folder; nothing is created until something is written."""

    root: Path

    def __post_init__(self) -> None:
        keep_private(self.root)

    @staticmethod
    def patterns() -> tuple[str, ...]:
        """The patterns of all parts."""
        return tuple(part.pattern for part in PARTS)

    def files(self, kept: bool = False) -> Iterator[tuple[Path, Part | None]]:
        """All files of the home by path, each with its part, or only those that a backup has; nothing half made.

        Other programs' folders are left out. Links are not followed. Raises `OSError` for a folder that cannot be
        read.
        """
        for path in _walk(self.root):
            part = part_of(PurePosixPath(path.relative_to(self.root)))
            if part is None and kept:
                continue
            if part is None or (part.kept if kept else part.kind != "foreign"):
                yield path, part

    @property
    def catalogue(self) -> Path:
        """The embedded catalogue's file."""
        return self.root / "catalogue.duckdb"

    @property
    def bases(self) -> Path:
        """Folder of the basis files."""
        return self.root / "bases"

    @property
    def models(self) -> Path:
        """Folder of the registered models' files."""
        return self.root / "models"

    @property
    def adapted(self) -> Path:
        """Folder of the models that have adapters."""
        return self.root / "adapted"

    @property
    def converted(self) -> Path:
        """Folder of the models that were converted."""
        return self.root / "converted"

    @property
    def datasets(self) -> Path:
        """Folder of the registered datasets' files."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """Folder of the runs' manifests."""
        return self.root / "runs"

    @property
    def transfers(self) -> Path:
        """Folder of what was measured of directions on other images."""
        return self.root / "transfers"

    @property
    def cache(self) -> Path:
        """Folder of what can be made again at any time."""
        return self.root / "cache"

    @property
    def masks(self) -> Path:
        """Folder of the masks that segmentation models made, by content."""
        return self.root / "masks"

    @property
    def spool(self) -> Path:
        """Folder of what runs note while they work."""
        return self.root / "spool"

    @property
    def prefect(self) -> Path:
        """Folder of the Prefect server."""
        return self.root / "prefect"

    def basis(self, basis_id: str) -> Path:
        """Where the basis file of that id lies."""
        return self.bases / basis_id[:2] / f"{basis_id}.safetensors"


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, by path."""
    try:
        found = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in found:
        if is_partial(path):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path
