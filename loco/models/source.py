"""From what a user names a model by to its folder: `zoo:NAME`, `hub:OWNER/NAME` or a path."""

import re
from pathlib import Path

from loco.errors import ModelError

ZOO = Path(__file__).parents[1] / "zoo" / "models"

CONFIGURATIONS = ("*.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.jinja")
"""Configurations and vocabularies, which are small and cannot run code; templates of conversations are only read."""

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")


def model_folder(source: str) -> Path:
    """Folder of a model source; raises `ModelError` for one that does not exist.

    `zoo:NAME` is a model that comes with the package, `hub:OWNER/NAME[@REVISION]` one on the model hub, fetched into
    its cache when it is not there yet; everything else is a folder.
    """
    if source.startswith("hub:"):
        return from_hub(source)
    if not source.startswith("zoo:"):
        return Path(source).expanduser().absolute()
    name = source.removeprefix("zoo:")
    known = sorted(path.name for path in ZOO.iterdir() if path.is_dir()) if ZOO.is_dir() else []
    if name not in known:
        raise ModelError(f"zoo model {name!r} does not exist; known are: {', '.join(known) or 'none'}")
    return ZOO / name


def local_folder(source: str) -> Path | None:
    """The same without asking the hub: None where a hub's model is not in its cache."""
    if not source.startswith("hub:"):
        return model_folder(source)
    name, _, revision = source.removeprefix("hub:").partition("@")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def from_hub(source: str, wanted: tuple[str, ...] | None = None, left: tuple[str, ...] = ()) -> Path:
    """The folder in the hub's cache of `hub:OWNER/NAME[@REVISION]`, fetched where it is not there yet.

    Its files that `wanted` takes and `left` does not; by default what a model needs: configurations and vocabularies,
    then of each part that its family has one form of its weights. Raises `ModelError` for a name that is none, or one
    that cannot be fetched.
    """
    if not _HUB.fullmatch(source.removeprefix("hub:")):
        raise ModelError(
            f"hub model: expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION, found {source[:200]!r}"
        )
    from loco.models.hub import model_snapshot, snapshot

    name, _, revision = source.removeprefix("hub:").partition("@")
    if wanted is None:
        return model_snapshot(name, revision or None, CONFIGURATIONS)
    return snapshot(name, revision or None, wanted, left)
