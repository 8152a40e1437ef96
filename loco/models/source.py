"""From what a user names a model by to its folder: `zoo:NAME` or a path."""

from pathlib import Path

from loco.errors import ModelError

ZOO = Path(__file__).parents[1] / "zoo" / "models"


def model_folder(source: str) -> Path:
    """Folder of a model source; raises `ModelError` for a zoo name that does not exist.

    `zoo:NAME` is a model that comes with the package, everything else is a folder.
    """
    if not source.startswith("zoo:"):
        return Path(source).expanduser().absolute()
    name = source.removeprefix("zoo:")
    known = sorted(path.name for path in ZOO.iterdir() if path.is_dir()) if ZOO.is_dir() else []
    if name not in known:
        raise ModelError(f"zoo model {name!r} does not exist; known are: {', '.join(known) or 'none'}")
    return ZOO / name
