"""The home folder: where everything of one installation lies.

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

from dataclasses import dataclass
from pathlib import Path

from loco.files import keep_private
from loco.files import reading_errors as reading_errors
from loco.files import storage_errors as storage_errors
from loco.files import sweep as sweep
from loco.files import write_atomic as write_atomic
from loco.files import writing as writing


@dataclass(frozen=True)
class Home:
    """Paths of one home folder; nothing is created until something is written."""

    root: Path

    def __post_init__(self) -> None:
        keep_private(self.root)

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
