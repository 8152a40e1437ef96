"""The home folder: where everything of one installation lies, and how a file gets there whole.

HOME/
  catalogue.duckdb          the index (and its .lock)
  bases/ab/<id>.safetensors direction vectors with their evidence
  models/NAME.json          registered models
  datasets/NAME.json        registered datasets
  runs/<id>/manifest.jsonl  one line an item, then the run's own line
  history/directions.jsonl  labels, aliases, rejections: one line each
  store.json                where basis files go besides, and their type
  cache/                    what can be made again at any time
  masks/ab/<id>.png         what segmentation models say of images, kept for the next time
  schedules/NAME.json       schedules
  prefect/                  the Prefect server's files
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loco.errors import StorageError


@dataclass(frozen=True)
class Home:
    """Paths of one home folder; nothing is created until something is written."""

    root: Path

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
    def datasets(self) -> Path:
        """Folder of the registered datasets' files."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """Folder of the runs' manifests."""
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        """Folder of what can be made again at any time."""
        return self.root / "cache"

    @property
    def masks(self) -> Path:
        """Folder of the masks that segmentation models made, by content."""
        return self.root / "masks"

    @property
    def prefect(self) -> Path:
        """Folder of the Prefect server."""
        return self.root / "prefect"

    def basis(self, basis_id: str) -> Path:
        """Where the basis file of that id lies."""
        return self.bases / basis_id[:2] / f"{basis_id}.safetensors"


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error on `path` into a `StorageError` that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free or enlarge the disk, or make the folder "
            f"writable, then run the same command again"
        ) from error


@contextlib.contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """The same for what is only read."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}; check the disk") from error


def write_atomic(path: Path, data: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one, never a part.

    `check` is given the written file before it gets its name; when it raises, the name is not given.
    Raises `StorageError` when the disk is full or the folder read-only; nothing is left behind then.
    """
    with writing(path, check) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path, check: Callable[[Path], object] | None = None) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit: the file gets its name when the block ends well."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            with partial.open("x+b") as file:  # with the user's usual permissions, which mkstemp would narrow
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)  # `sweep` leaves it alone while we live
                yield file
                file.flush()
                os.fsync(file.fileno())
                if check is not None:
                    check(partial)
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


_PARTIAL = f".{'[0-9a-f]' * 32}.partial"


def sweep(folder: Path) -> None:
    """Delete what killed processes left half written anywhere below `folder`; what is being written stays."""
    for path in folder.rglob(_PARTIAL):
        with contextlib.suppress(OSError), path.open("rb") as file:
            # A living writer holds the lock, a dead one's the kernel has freed.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
