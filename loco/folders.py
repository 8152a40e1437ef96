"""A dataset's two folders, its images' and its masks', and reading from them: nothing outside is ever read."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loco.errors import ImageError, InputError
from loco.images import Picture, read_image


@dataclass(frozen=True)
class Folders:
    """Where a dataset's images are and, if it has any, its masks."""

    root: Path
    masks: Path | None

    @classmethod
    def of(cls, path: Path, masks: Path | None = None) -> "Folders":
        """The folders of a dataset, `path/masks` where `masks` is None and there is one.

        Raises `InputError` where a folder is missing or `path/masks` is a link out of the dataset.
        """
        if not path.is_dir():
            raise InputError(f"{path}: no such folder")
        if masks is None:
            own = path / "masks"
            if not own.is_dir():
                return cls(path, None)
            if not own.resolve().is_relative_to(path.resolve()):
                raise InputError(f"{own} is a link out of the dataset; name it with --masks if it is meant")
            return cls(path, own)
        if not masks.is_dir():
            raise InputError(f"{masks}: no such mask folder")
        return cls(path, masks)


def open_image(root: Path, name: str, expected_id: str) -> Picture:
    """Read image `name` of the dataset in `root`, as it was when it was added.

    Raises `ImageError` where it cannot be read, lies outside the folder, or its bytes are not `expected_id`.
    """
    picture = read_image(inside(root, name), name)
    if picture.id != expected_id:
        raise ImageError(f"{root / name} changed since it was added; run `loco dataset add` again")
    return picture


def inside(root: Path, name: str) -> Path:
    """The path of `name` in `root`; raises `ImageError` where it is, or links to, something outside."""
    relative = PurePosixPath(name)
    path = root / name
    try:
        outside = not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a link that leads to itself, a NUL byte
        raise ImageError(f"{path}: cannot be followed ({error})") from error
    if relative.is_absolute() or ".." in relative.parts or outside:
        raise ImageError(f"{path}: leads out of {root}; copy the file into the folder")
    return path


def check_inside(root: Path, name: str) -> None:
    """Refuse, with an `ImageError`, a name that is or links to something outside `root`."""
    inside(root, name)
