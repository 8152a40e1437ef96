"""Pictures that can be drawn again: HOME/cache/pictures/ab/<id>.png, bounded, checked when they are read."""

import contextlib
import io
from pathlib import Path

from loco.errors import StorageError
from loco.files import write_atomic
from loco.ids import check_id
from loco.outside import regular_bytes
from registry.home import Home

LIMIT = 2**29
"""Bytes that pictures may take; then the half that was used longest ago goes."""

_EVERY = 64
"""Pictures between two looks at how much there is: a look reads every name."""

_put = 0


def place(home: Home, key: str) -> Path:
    """Where the picture of that id lies, if it is there."""
    return home.cache / "pictures" / check_id(key, "picture")[:2] / f"{key}.png"


def get(home: Home, key: str) -> bytes | None:
    """The PNG of that id; None where there is none, or a damaged one, which is deleted."""
    from PIL import Image

    path = place(home, key)
    try:
        data = regular_bytes(path)
    except OSError:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # the checksums of all its parts
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        path.touch()
    return data


def put(home: Home, key: str, data: bytes) -> None:
    """Keep a PNG; a disk that does not take it is no error."""
    global _put
    with contextlib.suppress(StorageError):
        write_atomic(place(home, key), data, settle=False)
    _put += 1
    if _put % _EVERY == 1:
        clear(home)


def clear(home: Home, limit: int = LIMIT) -> None:
    """Delete those used longest ago until half of the limit is left, where they take more than it."""
    found: list[tuple[float, int, Path]] = []
    for path in (home.cache / "pictures").glob("??/*.png"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        if total <= limit / 2:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
