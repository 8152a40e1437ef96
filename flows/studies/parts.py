"""What a study has measured so far: a file each, with a checksum, which is measured again where it is damaged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.engine.watch import Watch
from loco.files import write_atomic
from loco.outside import regular_bytes


def kept(path: Path, fits: Callable[[Any], bool], watch: Watch) -> Any | None:
    """What is kept there, or None where nothing is, or what is damaged, which is told.

    Args:
        path: The file.
        fits: Whether plain data looks like such a part: files of earlier programs have no checksum.
        watch: Told of damage.
    """
    try:
        told = json.loads(regular_bytes(path))
        if isinstance(told, dict) and set(told) == {"sha256", "found"}:
            found, whole = told["found"], told["sha256"] == _digest(json.dumps(told["found"]))
        else:
            found, whole = told, True
        if whole and fits(found):
            return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, TypeError):
        pass
    watch.say(f"{path} is damaged; it is measured again")
    return None


def keep(path: Path, found: Any) -> Any:
    """Write plain data there, and return it as `kept` will; raises `StorageError`."""
    text = json.dumps(found)
    write_atomic(path, f'{{"sha256": "{_digest(text)}", "found": {text}}}'.encode())
    return json.loads(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
